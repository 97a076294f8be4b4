import { X509Certificate } from 'node:crypto';
import t from 'tap';
import { roleUnits, tlsNameOf } from '../../../src/daemon/ca/identity.js';
import { nodeIdOf } from '../../../src/daemon/ca/issue.js';
import { identityOf, readCertificate, toPem } from '../../../src/daemon/ca/pem.js';
import { findRequest, issueCertificate, makeRequest, makeRequestFor, makeRoot } from '../../../src/daemon/ca/x509.js';
import { linuxHost } from '../../../src/host-linux/index.js';
import { isId } from '../../../src/ids.js';

const nowMs = Date.UTC(2030, 5, 1);
const dayMs = 86_400_000;
const randomBytes = linuxHost.random.bytes;
const root = await makeRoot({ organization: 'cluster', nowMs, randomBytes });
const { request, key } = await makeRequest();

async function issue(
  change: { readonly root?: typeof root; readonly validUntilMs?: number } = {},
): Promise<Uint8Array> {
  return issueCertificate({
    root: change.root ?? root,
    request,
    nodeId: 'node1',
    clusterId: 'cluster',
    unit: roleUnits.worker,
    dnsName: tlsNameOf('node1'),
    nowMs,
    validUntilMs: change.validUntilMs ?? nowMs + 90 * dayMs,
    randomBytes,
  });
}

t.test('the root is a P-256 authority for 20 years', async t => {
  const read = new X509Certificate(root.certificate);
  t.equal(read.ca, true);
  t.equal(read.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
  t.ok(read.verify(read.publicKey), 'signed by itself');
  t.equal(Math.round((read.validToDate.getTime() - nowMs) / (365.25 * dayMs)), 20);
});

t.test('a node certificate names node, cluster, role and time, and begins an hour ago', async t => {
  const der = await issue();
  const read = new X509Certificate(der);
  t.ok(read.verify(new X509Certificate(root.certificate).publicKey), 'signed by the root');
  t.equal(read.ca, false);
  t.equal(read.subjectAltName, 'DNS:node1.covey');
  t.match(read.subject, 'CN=node1');
  t.match(read.subject, 'O=cluster');
  t.match(read.subject, 'OU=covey-worker');
  t.same(read.keyUsage, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'], 'server and client');
  t.same(readCertificate(der), {
    nodeId: 'node1',
    clusterId: 'cluster',
    role: 'worker',
    validFromMs: nowMs - 7_200_000,
    validUntilMs: nowMs + 90 * dayMs,
  });
});

t.test('two certificates have two serial numbers, and none outlives the root', async t => {
  const [first, second] = [new X509Certificate(await issue()), new X509Certificate(await issue())];
  t.not(first.serialNumber, second.serialNumber);
  const long = readCertificate(await issue({ validUntilMs: nowMs + 40 * 366 * dayMs }));
  t.equal(long.validUntilMs, new X509Certificate(root.certificate).validToDate.getTime());
});

t.test('a request has to be signed by the key in it', async t => {
  t.ok(await findRequest(request));
  const forged = new Uint8Array(request);
  const last = forged.length - 3;
  forged[last] = (forged[last] ?? 0) ^ 1;
  t.equal(await findRequest(forged), undefined, 'signature changed');
  t.equal(await findRequest(request.subarray(0, 40)), undefined, 'cut short');
  t.equal(await findRequest(new Uint8Array(0)), undefined, 'empty');
});

t.test('asking again with the same key and id gives the same node', async t => {
  const first = await findRequest(request);
  const again = await findRequest(await makeRequestFor(key));
  t.same(again, first);
  const ask = { clusterId: 'c', requestId: 'r', publicKey: first?.publicKey ?? new Uint8Array(0) };
  t.ok(isId(nodeIdOf(ask)));
  t.equal(nodeIdOf(ask), nodeIdOf({ ...ask, publicKey: again?.publicKey ?? new Uint8Array(0) }));
  t.not(nodeIdOf(ask), nodeIdOf({ ...ask, requestId: 's' }));
  t.not(nodeIdOf(ask), nodeIdOf({ ...ask, clusterId: 'd' }));
  const other = await findRequest((await makeRequest()).request);
  t.not(nodeIdOf(ask), nodeIdOf({ ...ask, publicKey: other?.publicKey ?? new Uint8Array(0) }));
});

t.test('certificate, key and root have to belong together', async t => {
  const certificate = toPem(await issue(), 'CERTIFICATE');
  const parts = { certificate, key: toPem(key, 'PRIVATE KEY'), root: toPem(root.certificate, 'CERTIFICATE') };
  t.match(identityOf(parts), { nodeId: 'node1', clusterId: 'cluster', role: 'worker' });
  const otherKey = toPem((await makeRequest()).key, 'PRIVATE KEY');
  t.throws(() => identityOf({ ...parts, key: otherKey }), { code: 'state-damaged' });
  const otherRoot = await makeRoot({ organization: 'cluster', nowMs, randomBytes });
  t.throws(() => identityOf({ ...parts, root: toPem(otherRoot.certificate, 'CERTIFICATE') }), {
    code: 'state-damaged',
  });
});
