/**
 * Pulls over TLS from a registry whose authority nobody but its administrator knows, through a proxy, with logins of both
 * kinds. The registry has a name that only the proxy can reach, so that nothing of this machine is trusted by itself.
 */
import * as fs from 'node:fs';
import * as http from 'node:http';
import * as net from 'node:net';
import t, { type Test } from 'tap';
import { roleUnits } from '../../../src/daemon/ca/identity.js';
import { toPem } from '../../../src/daemon/ca/pem.js';
import { issueCertificate, makeRequest, makeRoot } from '../../../src/daemon/ca/x509.js';
import { linuxHost } from '../../../src/host-linux/index.js';
import { tarOf } from './archives.js';
import { type MockOptions, openMock, packed, refuse } from './mock-registry.js';
import { isRoot, openTestStore, type TestStore } from './test-store.js';

const skip = isRoot ? false : 'needs root';
const quick = { delayFirstMs: 1, delayMaxMs: 20, giveUpMs: 2_000 };
const name = 'registry.test';
const image = packed([tarOf([{ path: 'file', data: 'content' }])]);
const randomBytes = linuxHost.random.bytes;

async function makeCertificates() {
  const nowMs = Date.now();
  const root = await makeRoot({ organization: 'site', nowMs, randomBytes });
  const issue = async (dnsName: string) => {
    const { request, key } = await makeRequest();
    const validUntilMs = nowMs + 3_600_000;
    const more = { root, request, nodeId: 'n', clusterId: 'site', unit: roleUnits.worker };
    const certificate = await issueCertificate({ ...more, dnsName, nowMs, validUntilMs, randomBytes });
    return { cert: toPem(certificate, 'CERTIFICATE'), key: toPem(key, 'PRIVATE KEY') };
  };
  return { ca: toPem(root.certificate, 'CERTIFICATE'), server: await issue(name), client: await issue('client.test') };
}

/** Connects names that begin with "registry.test" to the registry; keeps what was asked for. */
async function openProxy(t: Test, port: number): Promise<{ readonly url: string; readonly asked: readonly string[] }> {
  const asked: string[] = [];
  const server = http.createServer((_request, response) => refuse(response, 500, 'UNKNOWN', 'CONNECT only'));
  const open = new Set<net.Socket>();
  server.on('connect', (request: http.IncomingMessage, socket: net.Socket) => {
    asked.push(request.url ?? '');
    const there = net.connect(port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      there.pipe(socket).pipe(there);
    });
    for (const end of [there, socket]) {
      open.add(end);
      end.on('error', () => undefined);
    }
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  t.teardown(async () => {
    for (const end of open) end.destroy();
    await new Promise(resolve => server.close(resolve));
  });
  return { url: `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`, asked };
}

async function place(t: Test, options: MockOptions, env: Readonly<Record<string, string>> = {}) {
  const mock = await openMock(options);
  t.teardown(() => mock[Symbol.asyncDispose]());
  const proxy = await openProxy(t, Number(mock.host.split(':')[1]));
  const made = await openTestStore({ patience: quick, proxy: { HTTPS_PROXY: proxy.url, ...env } });
  t.teardown(() => made[Symbol.asyncDispose]());
  return { mock, proxy, made };
}

async function pull(made: TestStore): Promise<void> {
  const request = { image: `${name}/team/app:1`, platform: '' };
  for await (const _ of made.store.pullImage(request, AbortSignal.timeout(30_000)));
}

function keep(made: TestStore, files: Readonly<Record<string, string>>): void {
  const folder = `${made.scratch}/certs.d/${name}`;
  fs.mkdirSync(folder, { recursive: true });
  for (const [file, text] of Object.entries(files)) fs.writeFileSync(`${folder}/${file}`, text);
}

t.test('a registry over TLS', { skip }, async t => {
  const { ca, server, client } = await makeCertificates();

  await t.test('is trusted by the authority in certs.d alone, through the proxy of the environment', async t => {
    const { proxy, made } = await place(t, { image, tls: server });
    await t.rejects(pull(made), { code: 'registry-tls' }, 'nobody knows its authority');
    keep(made, { 'ca.crt': ca });
    await pull(made);
    t.ok(made.store.find(`${name}/team/app:1`));
    t.strictSame([...new Set(proxy.asked)], [`${name}:443`], 'nothing went another way');
  });

  await t.test('that NO_PROXY names is asked directly', async t => {
    const { proxy, made } = await place(t, { image, tls: server }, { NO_PROXY: 'other.test,.test' });
    keep(made, { 'ca.crt': ca });
    await t.rejects(pull(made));
    t.strictSame(proxy.asked, []);
  });

  await t.test('that wants a certificate gets the one in certs.d', async t => {
    const { made } = await place(t, { image, tls: { ...server, clientCa: ca } });
    keep(made, { 'ca.crt': ca });
    await t.rejects(pull(made));
    keep(made, { 'client.cert': client.cert, 'client.key': client.key });
    await pull(made);
    t.ok(made.store.find(`${name}/team/app:1`));
  });

  await t.test(
    'that gives an identity token at the login is asked with it from then on, never with the password',
    async t => {
      const realm = `https://${name}/token`;
      const bodies: string[] = [];
      const hook: MockOptions['hook'] = (request, response) => {
        if (request.url?.startsWith('/token') === true) {
          request.on('data', (chunk: Buffer) => bodies.push(chunk.toString()));
          const isLogin = /offline_token=true/.test(request.url) && request.headers.authorization !== undefined;
          request.on('end', () => {
            const isRefresh = bodies.some(body => body.includes('refresh_token=keep-me'));
            if (!isLogin && !isRefresh) return refuse(response, 401, 'UNAUTHORIZED', 'who');
            response.end(JSON.stringify({ token: 'pass', ...(isLogin ? { refresh_token: 'keep-me' } : {}) }));
            return undefined;
          });
          return true;
        }
        if (request.headers.authorization === 'Bearer pass') return false;
        refuse(response, 401, 'UNAUTHORIZED', 'who', { 'www-authenticate': `Bearer realm="${realm}",service="s"` });
        return true;
      };
      const { mock, made } = await place(t, { image, tls: server, hook });
      keep(made, { 'ca.crt': ca });
      await t.rejects(pull(made), { code: 'registry-denied' });
      const login = { registry: name, username: 'robot', password: 'secret' };
      await made.store.login(login, AbortSignal.timeout(10_000));
      const kept = fs.readFileSync(`${made.scratch}/auth.json`, 'utf8');
      t.match(JSON.parse(kept), { auths: { [name]: { identitytoken: 'keep-me' } } });
      t.notMatch(kept, Buffer.from('robot:secret').toString('base64'), 'the password is not kept');
      const before = mock.requests.length;
      await pull(made);
      t.ok(made.store.find(`${name}/team/app:1`));
      t.ok(bodies.some(body => body.includes('grant_type=refresh_token')));
      t.notOk(mock.requests.slice(before).some(({ authorization }) => authorization.startsWith('Basic')));
    },
  );
});
