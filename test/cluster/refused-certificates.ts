/**
 * Calls on the cluster port of a real manager with certificates that do not count: of a worker where managers ask, of another
 * cluster, of a node that was removed. Each has its own error, and changes nothing.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { type NodeIdentity, roleUnits, tlsNameOf } from '../../src/daemon/ca/identity.js';
import { findPems, identityOf, toPem } from '../../src/daemon/ca/pem.js';
import { issueCertificate, makeRequest, makeRoot } from '../../src/daemon/ca/x509.js';
import { connectToManager } from '../../src/daemon/rpc/client.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { openWire } from '../../src/wire.js';

const { clock, random } = linuxHost;

/** What a node on disk identifies itself with. */
export function readIdentity(dataDir: string): NodeIdentity {
  const text = fs.readFileSync(join(dataDir, 'tls/node.pem'), 'utf8');
  const [key = ''] = findPems(text, 'PRIVATE KEY');
  const root = fs.readFileSync(join(dataDir, 'tls/root.pem'), 'utf8');
  return identityOf({ certificate: findPems(text, 'CERTIFICATE').join(''), key, root });
}

export async function testRefusedCertificates(
  t: Test,
  manager: {
    readonly nodeId: string;
    readonly address: string;
    readonly worker: NodeIdentity;
    readonly removed: NodeIdentity;
    readonly slowMs: number;
  },
): Promise<void> {
  const { nodeId, address, worker, removed } = manager;
  const wire = openWire();
  const rows: [string, NodeIdentity, 'listNodes' | 'renew', string][] = [
    ['a worker asks what people ask', worker, 'listNodes', 'role-refused'],
    ['a node of another cluster', await foreignIdentity(worker), 'renew', 'no-certificate'],
    ['a node that was removed renews', removed, 'renew', 'node-removed'],
    ['a node that was removed asks', removed, 'listNodes', 'node-removed'],
  ];
  for (const [title, client, call, code] of rows) {
    const begin = performance.now();
    const signal = new AbortController().signal;
    const known = { nodeId, address, clusterId: worker.clusterId, root: worker.root };
    await using connection = await connectToManager({ ...known, client, wire, clock, timeoutMs: 10_000, signal });
    const limits = { timeoutMs: 10_000, signal };
    const asked: Promise<unknown> =
      call === 'renew'
        ? connection.calls('Ca').renew({ certificateRequest: new Uint8Array(0) }, limits)
        : connection.calls('Control').listNodes({ objects: [], stack: '' }, limits);
    await t.rejects(asked, { code }, title);
    const ms = performance.now() - begin;
    t.ok(ms < manager.slowMs, `${title}: ${Math.round(ms)} ms`);
  }
}

/** A manager of that id, as the authority of another cluster says. */
async function foreignIdentity(like: NodeIdentity): Promise<NodeIdentity> {
  const making = { nowMs: clock.wallMs(), randomBytes: random.bytes };
  const root = await makeRoot({ ...making, organization: like.clusterId });
  const { request, key } = await makeRequest();
  const certificate = await issueCertificate({
    ...making,
    root,
    request,
    nodeId: like.nodeId,
    clusterId: like.clusterId,
    unit: roleUnits.manager,
    dnsName: tlsNameOf(like.nodeId),
    validUntilMs: making.nowMs + 86_400_000,
  });
  return identityOf({
    certificate: toPem(certificate, 'CERTIFICATE'),
    key: toPem(key, 'PRIVATE KEY'),
    root: toPem(root.certificate, 'CERTIFICATE'),
  });
}
