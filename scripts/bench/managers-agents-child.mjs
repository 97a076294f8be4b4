// The agents of managers-agents.mjs: ADDRESS TOKEN COUNT. All join; then each opens its session, acknowledges what it is told
// without doing it, and sends its heartbeats. Says "connected" when all have a session, and goes on until it is killed.
import { dirname, join as joinPath } from 'node:path';
import { fileURLToPath } from 'node:url';

const dist = joinPath(dirname(fileURLToPath(import.meta.url)), '../../dist/src');
const load = file => import(joinPath(dist, file));
const { fetchRoot } = await load('daemon/rpc/root-fetch.js');
const { connectToManager } = await load('daemon/rpc/client.js');
const { identityOf, toPem } = await load('daemon/ca/pem.js');
const { parseToken } = await load('daemon/ca/token.js');
const { makeKey, makeRequestFor } = await load('daemon/ca/x509.js');
const { helloMessage, helloOf } = await load('daemon/session/outbox.js');
const { sessionProtocols } = await load('version.js');
const { linuxHost } = await load('host-linux/index.js');
const { newId } = await load('ids.js');
const { openWire } = await load('wire.js');

// Neither timers nor sockets of the daemon's code keep a process alive.
setInterval(() => undefined, 60_000);
const [address, text, number] = process.argv.slice(2);
const count = Number(number);
const token = parseToken(text);
const wire = openWire();
const { clock, random } = linuxHost;
const { signal } = new AbortController();
const [host, port] = address.split(':');
const root = await fetchRoot({
  host,
  port: Number(port),
  rootDigest: token.rootDigest,
  clock,
  connectMs: 5_000,
  handshakeMs: 5_000,
  signal,
});
const joining = await connectToManager({
  address,
  nodeId: root.nodeId,
  clusterId: undefined,
  root: toPem(root.root, 'CERTIFICATE'),
  client: undefined,
  wire,
  clock,
  timeoutMs: 5_000,
  signal,
});
const members = [];
await inTurns(8, async index => members.push(await join(index)));
await joining[Symbol.asyncDispose]();
process.stderr.write(`${count} certificates issued\n`);
await inTurns(16, index => openSession(members[index - 1]));
process.stdout.write('connected\n');

/** From 1 to the number of agents, so many at a time. */
async function inTurns(atOnce, work) {
  let next = 1;
  const one = async () => {
    for (let index = next++; index <= count; index = next++) await work(index);
  };
  await Promise.all(Array.from({ length: atOnce }, one));
}

async function join(index) {
  const description = {
    ...wire.type('NodeDescription').decode(new Uint8Array()),
    hostname: `agent-${index}`,
    os: 'linux',
    architecture: 'amd64',
    addresses: [`10.64.${index >> 8}.${index & 255}:7377`],
    dataAddresses: [`10.64.${index >> 8}.${index & 255}`],
    dataPort: 7378,
  };
  const key = await makeKey();
  const answer = await joining.calls('Ca').join(
    {
      secret: token.secret,
      labels: {},
      description,
      certificateRequest: await makeRequestFor(key),
      name: description.hostname,
      requestId: newId(random.bytes),
      protocolMin: sessionProtocols.min,
      protocolMax: sessionProtocols.max,
    },
    { signal, timeoutMs: 60_000 },
  );
  const identity = identityOf({
    certificate: toPem(answer.certificate, 'CERTIFICATE'),
    key: toPem(key, 'PRIVATE KEY'),
    root: toPem(root.root, 'CERTIFICATE'),
  });
  return { identity, description };
}

/** A manager that is busy with a thousand others is asked again, as an agent does. */
async function connect({ clusterId, certificate, key, root: trusted }) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await connectToManager({
        address,
        nodeId: root.nodeId,
        clusterId,
        root: trusted,
        client: { certificate, key },
        wire,
        clock,
        timeoutMs: 10_000,
        signal,
      });
    } catch (error) {
      if (attempt === 20) throw error;
    }
  }
}

/** Resolves with the welcome. */
async function openSession({ identity, description }) {
  const manager = await connect(identity);
  const stream = manager.calls('Dispatcher').session({ signal });
  await stream.send(helloMessage(helloOf({ bootId: description.hostname, clock }, description, [])));
  await new Promise((resolve, reject) => {
    answer(stream, resolve).catch(error => {
      reject(error);
      process.stderr.write(`${description.hostname}: ${error.message}\n`);
      process.exit(1);
    });
  });
}

async function answer(stream, welcomed) {
  let sequence = 0;
  const acknowledged = { assignments: 0, tables: 0 };
  const say = body => stream.send({ body });
  for await (const { body } of stream) {
    if (body.kind === 'welcome') {
      welcomed();
      const beat = () => {
        sequence += 1;
        void say({ kind: 'heartbeat', sequence }).catch(() => undefined);
      };
      setTimeout(() => setInterval(beat, body.heartbeatMs), body.heartbeatMs * Math.random());
    }
    if (body.kind === 'assignments') acknowledged.assignments = body.sequence;
    if (body.kind === 'tables') acknowledged.tables = body.version;
    if (body.kind === 'assignments' || body.kind === 'tables') await say({ kind: 'acknowledgement', ...acknowledged });
  }
  throw new Error('the manager has ended the session');
}
