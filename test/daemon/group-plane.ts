/**
 * Three managers in one process: the real Raft core, driver and storage threads, the real store and leader's loops, and agents that
 * obey at once. Leaders change by transfer or because they are cut off, while people ask for things.
 *
 * Not here: the network between daemons (cluster tests), rules of one manager (plane-fixtures.ts).
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ControlHandlers } from '../../src/daemon/control/parts.js';
import { makeControl } from '../../src/daemon/control.js';
import { type Leadership, openLeadership } from '../../src/daemon/group/leadership.js';
import { type Manager, openManager } from '../../src/daemon/manager.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { type Lifetime, openLifetime } from '../../src/lifetime.js';
import { bootstrapGroup } from '../../src/raft/bootstrap.js';
import type { PeerId } from '../../src/raft/core/types.js';
import { type GroupLog, openGroupLog } from '../../src/raft/group-log.js';
import type { NodeEvent } from '../../src/raft/node/types.js';
import { clearKeyring } from '../../src/raft/storage/keyring.js';
import { storageDefaults } from '../../src/raft/storage/storage-server.js';
import { firstSnapshot, type OpenStore, openStore, type View, type Write } from '../../src/raft/store.js';
import { createMemoryNetwork } from '../../src/raft/transport.js';
import { eventually, silent } from './node-fixtures.js';
import { node } from './object-fixtures.js';
import { anySignal, obedient, seededRandom, stubParts, wire } from './plane-fixtures.js';

const workerFile = new URL('../../src/raft/storage/wal-worker.js', import.meta.url);
const members: readonly PeerId[] = [1, 2, 3];
const tickMs = 10;

interface Member {
  readonly id: PeerId;
  readonly log: GroupLog;
  readonly store: OpenStore;
  readonly control: ControlHandlers;
  readonly leadership: Leadership<Manager>;
}

export interface GroupPlane extends AsyncDisposable {
  /** As the leader has it. */
  readonly view: () => Promise<View>;
  /** Asked of whoever leads, until it is done; a refusal is an answer. */
  readonly ask: (call: (control: ControlHandlers) => Promise<unknown>) => Promise<void>;
  /** Another one leads after it, with its loops running. */
  readonly changeLeader: (how: 'transfer' | 'cut') => Promise<void>;
  /** Lets loops and agents go on until there is nothing left to do. */
  readonly settle: () => Promise<void>;
}

export async function openGroupPlane(nodes: readonly string[]): Promise<GroupPlane> {
  const root = mkdtempSync(join(tmpdir(), 'covey-group-plane-'));
  const lifetime = openLifetime('group plane', { onFailure: () => undefined });
  const network = createMemoryNetwork(call => setImmediate(call));
  const first: readonly Write[] = nodes.map(name => ({ kind: 'put', table: 'node', object: node(name) }));
  const content = firstSnapshot(wire, first, Date.now());
  const group: Member[] = [];
  for (const id of members) group.push(await openMember({ id, root, network, lifetime, content }));
  for (const { id, log } of group) network.join(id, log.arrivals);
  const findLeader = (except?: Member): Member | undefined =>
    group.find(member => member !== except && member.leadership.find() !== undefined);
  const leader = (): Promise<Member> => eventually('a leader', () => findLeader());

  const agentStep = async ({ store }: Member): Promise<boolean> => {
    const writes = [...store.view().list('task')].flatMap((task): readonly Write[] => {
      const isHeard = task.nodeId !== '' && !['new', 'pending'].includes(task.status.state);
      const next = isHeard ? obedient(task) : undefined;
      return next === undefined
        ? []
        : [{ kind: 'put', table: 'task', object: { ...task, status: { ...task.status, ...next } } }];
    });
    if (writes.length === 0) return false;
    // Who is no leader any more says so; the next turn asks the next one.
    await store.update(() => writes, { principal: 'system:agent', signal: anySignal() }).catch(() => undefined);
    return true;
  };
  const settle = async (): Promise<void> => {
    for (;;) {
      const member = await leader();
      await member.leadership.find()?.parts.idle();
      if (!(await agentStep(member)) && findLeader() === member) return;
    }
  };
  return {
    view: async () => (await leader()).store.view(),
    settle,
    ask: async call => {
      for (;;) {
        const code = await call((await leader()).control).then(
          () => undefined,
          (error: { code?: string }) => error.code ?? 'bug',
        );
        if (code === 'bug') throw new Error('a call failed in an unknown way');
        if (code === undefined || !['not-leader', 'unknown-outcome', 'no-leader', 'cancelled'].includes(code)) return;
      }
    },
    changeLeader: async how => {
      const old = await leader();
      const { log, id } = old;
      if (how === 'cut') network.leave(id);
      else log.transferTo(members.find(other => other !== id) ?? 0);
      await eventually('another leader', () => {
        if (how === 'transfer' && old.leadership.find() !== undefined) log.transferTo((id % members.length) + 1);
        return findLeader(old);
      });
      network.join(id, log.arrivals);
      await eventually('the end of the old one', () => old.leadership.find() === undefined);
    },
    [Symbol.asyncDispose]: async () => {
      await lifetime[Symbol.asyncDispose]();
      for (const { store } of group) await store[Symbol.asyncDispose]();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

interface MemberParts {
  readonly id: PeerId;
  readonly root: string;
  readonly network: ReturnType<typeof createMemoryNetwork>;
  readonly lifetime: Lifetime;
  readonly content: Uint8Array;
}

async function openMember({ id, root, network, lifetime, content }: MemberParts): Promise<Member> {
  const { clock } = linuxHost;
  const storage = {
    ...storageDefaults,
    segmentBytes: 256 * 1024,
    folder: join(root, String(id)),
    identity: { cluster: 'c', node: id },
    keyring: clearKeyring,
  };
  const confState = { voters: members, learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
  await bootstrapGroup(storage, workerFile, { confState, content });
  const random = seededRandom(id);
  let opened: GroupLog | undefined;
  let leadership: Leadership<Manager> | undefined;
  const onEvent = (event: NodeEvent): void => {
    if (event.kind === 'leading') leadership?.begin(event.term);
    else if (event.kind === 'role' && event.role !== 'leader') leadership?.end();
  };
  const store = await openStore({
    wire,
    clock,
    openLog: async machine => {
      const transport = network.transportOf(id);
      const nameOf = (peer: PeerId): string => `manager-${peer}`;
      const limits = { snapshotEntries: 500, keepEntries: 100 };
      opened = await openGroupLog({
        id,
        storage,
        workerFile,
        transport,
        machine,
        clock,
        random: { bytes: size => random.bytes(size), fraction: Math.random },
        limits,
        tickMs,
        nameOf,
        onEvent,
      });
      return opened;
    },
  });
  if (opened === undefined) throw new Error('no log was opened');
  leadership = openLeadership<Manager>({
    lifetime,
    open: (_term, scope) =>
      openManager({ store, clock, random, log: silent, lifetime: scope, waitsFor: () => undefined }),
  });
  return { id, log: opened, store, leadership, control: makeControl(stubParts({ store, clock, random })) };
}
