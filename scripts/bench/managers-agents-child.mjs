// The agents of managers-agents.mjs: ADDRESS TOKEN COUNT. Says "connected" when all have a session, and goes on until it is killed.
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const dist = join(dirname(fileURLToPath(import.meta.url)), '../../dist/src');
const load = file => import(join(dist, file));
const { fetchRoot } = await load('daemon/rpc/root-fetch.js');
const { connectToManager } = await load('daemon/rpc/client.js');
const { identityOf, toPem } = await load('daemon/ca/pem.js');
const { holdIdentity } = await load('daemon/ca/identity.js');
const { parseToken } = await load('daemon/ca/token.js');
const { makeKey, makeRequestFor } = await load('daemon/ca/x509.js');
const { makeDial, openSession } = await load('daemon/session/index.js');
const { sessionProtocols } = await load('daemon/session/protocol.js');
const { linuxHost } = await load('host-linux/index.js');
const { openLifetime } = await load('lifetime.js');
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
const nothing = () => undefined;
const silent = { debug: nothing, info: nothing, warn: nothing, error: nothing, with: () => silent };
const lifetime = openLifetime('agents', { onFailure: (name, error) => process.stderr.write(`${name}: ${error}\n`) });
const [host, port] = address.split(':');
const root = await fetchRoot({
  host,
  port: Number(port),
  rootDigest: token.rootDigest,
  clock,
  timeoutMs: 5_000,
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
const sessions = [];
let next = 1;
await Promise.all(
  Array.from({ length: 8 }, async () => {
    for (let index = next++; index <= count; index = next++) sessions.push(await openAgent(index));
  }),
);
await joining[Symbol.asyncDispose]();
while (sessions.some(session => session.state().kind !== 'connected')) await sleep(100);
process.stdout.write('connected\n');

async function openAgent(index) {
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
    { signal, timeoutMs: 30_000 },
  );
  const identity = holdIdentity(
    identityOf({
      certificate: toPem(answer.certificate, 'CERTIFICATE'),
      key: toPem(key, 'PRIVATE KEY'),
      root: toPem(root.root, 'CERTIFICATE'),
    }),
  );
  let managers = answer.managers;
  return openSession({
    clock,
    random,
    log: silent,
    lifetime: lifetime.child(description.hostname),
    dial: makeDial({ identity, wire, clock, random, findLocal: () => undefined }),
    agent: {
      assign: async () => undefined,
      reports: () => [],
      connected: () => undefined,
      onReport: () => ({ [Symbol.dispose]: () => undefined }),
    },
    tables: { applyTables: async () => undefined },
    memory: {
      managers: () => managers,
      rememberManagers: latest => {
        managers = latest;
      },
      term: () => 0,
      rememberTerm: async () => undefined,
      tables: new Map(),
      rememberTables: () => undefined,
    },
    describe: async () => description,
    bootId: description.hostname,
    onWelcome: () => undefined,
  });
}
