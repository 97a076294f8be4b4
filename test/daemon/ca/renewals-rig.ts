/**
 * A manager and a node with an open session and streams that carry messages all the time, while their certificates are renewed.
 *
 * Not here: tests (renewals.test.ts), the thousand (scripts/torture/renewals.mjs).
 */
import { X509Certificate } from 'node:crypto';
import { renewNode } from '../../../src/daemon/ca/issue.js';
import { renewOnce } from '../../../src/daemon/ca/renewal.js';
import { routeRenewal } from '../../../src/daemon/renewal-route.js';
import { connectToManager } from '../../../src/daemon/rpc/client.js';
import type { BulkFrame } from '../../../src/gen/types.js';
import { linuxHost } from '../../../src/host-linux/index.js';
import { anySignal, eventually, silent, wire } from '../node-fixtures.js';
import { startManager, startWorker } from '../node-rig.js';

const { clock, random } = linuxHost;

/** Between two messages of a stream: a machine that does nothing else. */
const pauseMs = 2;

/** What the streams speak: messages come back. */
async function* echo(frames: AsyncIterable<BulkFrame>): AsyncGenerator<BulkFrame> {
  yield* frames;
}

export async function openRenewals(
  t: { teardown: (call: () => unknown) => unknown },
  { streams }: { readonly streams: number },
) {
  const manager = await startManager(t, {
    relay: () => ({ bulk: (frames: AsyncIterable<BulkFrame>) => echo(frames) }) as never,
  });
  const worker = await startWorker(t, manager, { name: 'w1' });
  const nodeId = manager.member.membership.nodeId;
  const ended: string[] = [];
  const counts: number[] = [];
  const stopping = new AbortController();
  const connect = () => {
    const { clusterId, root, certificate, key } = worker.identity.current();
    return connectToManager({
      address: manager.address,
      nodeId,
      clusterId,
      root,
      client: { certificate, key },
      wire,
      clock,
      timeoutMs: 10_000,
      signal: anySignal(),
    });
  };
  const carry = async (at: number): Promise<void> => {
    const client = await connect();
    t.teardown(() => client[Symbol.asyncDispose]());
    const stream = client.calls('Dispatcher').bulk({ signal: stopping.signal });
    counts[at] = 0;
    await stream.send({ body: { kind: 'data', stream: 'stdout', data: new Uint8Array(1_000), eof: false, atMs: 0 } });
    void (async () => {
      try {
        for await (const frame of stream) {
          counts[at] = (counts[at] ?? 0) + 1;
          await clock.sleep(pauseMs, stopping.signal);
          await stream.send(frame);
        }
        ended.push(`stream ${at} ended`);
      } catch (error) {
        if (!stopping.signal.aborted) ended.push(`stream ${at}: ${String(error)}`);
      }
    })();
  };
  for (let at = 0; at < streams; at += 1) await carry(at);
  t.teardown(() => stopping.abort());
  let sessions = 1;
  let session = worker.session.state();
  const noteSession = (): void => {
    const now = worker.session.state();
    if (now.kind === 'connected' && now !== session) sessions += 1;
    session = now;
  };
  const options = {
    store: manager.store,
    clock,
    random,
    log: silent,
    managers: () => [],
    roles: { letGo: async () => undefined },
    settled: async () => undefined,
  };
  const route = (who: 'manager' | 'worker') =>
    routeRenewal({
      host: linuxHost,
      wire,
      identity: who === 'manager' ? manager.identity : worker.identity,
      managers: () => [{ nodeId, addresses: [manager.address], leader: true, raftId: 0 }],
      manager:
        who === 'worker'
          ? undefined
          : {
              store: manager.store,
              renewHere: (request, signal) => renewNode(options, { ...request, nodeId }, signal),
            },
    });
  return {
    /** A new certificate and key, in use. */
    renew: async (who: 'manager' | 'worker'): Promise<void> => {
      const { identity } = who === 'manager' ? manager : worker;
      await renewOnce({ ...route(who), identity, save: async () => undefined, log: silent, clock }, anySignal());
      noteSession();
    },
    /** Every stream has carried a message since the last time. */
    untilAllHaveSpoken: async (): Promise<void> => {
      const before = [...counts];
      await eventually(
        `messages on all streams (${ended.join(', ')})`,
        () => ended.length > 0 || counts.every((count, at) => count > (before[at] ?? 0)),
      );
    },
    ended: () => ended,
    exchanged: () => counts.reduce((sum, count) => sum + count, 0),
    sessionsOpened: () => sessions,
    address: () => ({ host: '127.0.0.1', port: manager.port }),
    managerSerial: () => new X509Certificate(manager.identity.current().certificate).serialNumber,
  };
}
