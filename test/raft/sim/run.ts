/**
 * One seed from beginning to end: a group is made, faults and work go on for a while, everything is healed, and all must
 * come together again. The same seed and faults give the same trace hash.
 *
 * Called by: main.ts, mutants.ts, the tests. Not here: the single properties (checks.ts).
 */
import { configOf, isJoint, membersOf } from '../../../src/raft/core/confchange.js';
import { nobody, type PeerId } from '../../../src/raft/core/types.js';
import { type NodeEvent, type NodeLimits, nodeDefaults } from '../../../src/raft/node/types.js';
import { checkLinearizable } from '../linearizability/checker.js';
import { registerModel } from '../linearizability/models.js';
import { createChecks } from './checks.js';
import { type Fault, makeFaults, type TimedFault } from './faults.js';
import { Member } from './member.js';
import { createNetwork, cutLinks, type Network } from './network.js';
import { createRandom, type Random } from './random.js';
import { chooseChange, startWorkload, type Workload } from './workload.js';
import { createWorld, type World } from './world.js';

export interface RunResult {
  readonly seed: number;
  readonly hash: string;
  readonly violation: string | undefined;
  readonly faults: readonly TimedFault[];
  readonly events: number;
  readonly counts: ReturnType<Workload['counts']>;
  readonly leaderTerms: number;
  readonly commits: number;
}

export interface RunOptions {
  readonly faults?: readonly TimedFault[] | undefined;
  readonly record?: ((line: string) => void) | undefined;
}

interface Setting {
  readonly voters: number;
  readonly limits: NodeLimits;
  readonly tickUnits: number;
  readonly segmentBytes: number;
  readonly encrypted: boolean;
  readonly length: number;
}

interface Cluster {
  readonly seed: number;
  readonly setting: Setting;
  readonly world: World;
  readonly network: Network;
  readonly random: Random;
  readonly checks: ReturnType<typeof createChecks>;
  readonly members: Map<PeerId, Member>;
  nextId: PeerId;
  flipped: boolean;
}

export function runSeed(seed: number, options: RunOptions = {}): RunResult {
  const cluster = makeCluster(seed, options.record);
  const { world, checks, setting, members } = cluster;
  const faults = options.faults ?? makeFaults(createRandom(seed, 'faults'), setting.length);
  for (const { at, fault } of faults) world.after(at, '', () => carryOut(cluster, fault));
  const shape = createRandom(seed, 'workload shape');
  const workload = startWorkload({
    world,
    checks,
    members,
    random: createRandom(seed, 'workload'),
    clients: shape.between(1, 5),
    keys: shape.between(1, 4),
    thinkMax: shape.pick([10, 40, 150]),
    dataBytesMax: shape.pick([3, 8]),
  });
  runUntil(cluster, setting.length);
  workload.stop();
  if (!checks.violation()) heal(cluster);
  if (!checks.violation()) {
    const verdict = checkLinearizable(registerModel, workload.history());
    if (verdict.kind === 'illegal')
      checks.fail(
        `not linearizable: key ${verdict.key}, ${verdict.longest.length} of ${verdict.operations} operations can be put in order`,
      );
  }
  const terms = [...members.values()].map(member => member.node?.status().term ?? 0);
  return {
    seed,
    hash: world.hash(),
    violation: checks.violation(),
    faults,
    events: world.events(),
    counts: workload.counts(),
    leaderTerms: Math.max(...terms),
    commits: checks.committed(),
  };
}

function makeCluster(seed: number, record: ((line: string) => void) | undefined): Cluster {
  const world = createWorld(record);
  const checks = createChecks();
  const random = createRandom(seed, 'cluster');
  const setting = makeSetting(createRandom(seed, 'setting'));
  const members = new Map<PeerId, Member>();
  const network = createNetwork({
    world,
    random: createRandom(seed, 'network'),
    onSend: message => checks.onSend(message),
    deliver: (to, call) => {
      const member = members.get(to);
      member?.later(0, '', () => call(member.node!));
    },
  });
  const cluster: Cluster = { seed, setting, world, network, random, checks, members, nextId: 1, flipped: false };
  const voters = Array.from({ length: setting.voters }, () => addMember(cluster).id);
  for (const id of voters) {
    members.get(id)!.bootstrap(voters);
    members.get(id)!.start();
  }
  return cluster;
}

/** Sizes are drawn tiny now and then: limits that are never reached hide bugs. */
function makeSetting(random: Random): Setting {
  const tiny = <Value>(usual: Value, small: Value) => (random.chance(0.35) ? small : usual);
  return {
    voters: random.pick([1, 3, 3, 3, 3, 5]),
    tickUnits: 10,
    segmentBytes: tiny(16_384, 2_048),
    encrypted: random.chance(0.15),
    length: 3000,
    limits: {
      ...nodeDefaults,
      electionTicks: random.between(4, 10),
      messageBytesMax: tiny(4096, 0),
      applyingBytesMax: tiny(65_536, 100),
      uncommittedBytesMax: tiny(65_536, 300),
      inflightMessagesMax: tiny(16, 1),
      inflightBytesMax: tiny(65_536, 200),
      transferLagMax: tiny(1000, 3),
      applyLookEntries: tiny(32, 1),
      snapshotEntries: tiny(40, 4),
      keepEntries: tiny(20, 0),
      applyLagMax: tiny(1000, 5),
      waitingProposalsMax: tiny(1000, 3),
    },
  };
}

function addMember(cluster: Cluster): Member {
  const { seed, world, network, checks, setting, members } = cluster;
  const id = cluster.nextId;
  cluster.nextId += 1;
  const { limits, tickUnits, segmentBytes, encrypted } = setting;
  const onEvent = (_: PeerId, event: NodeEvent) => supervise(cluster, id, event);
  const member = new Member({ id, seed, world, network, checks, limits, tickUnits, segmentBytes, encrypted, onEvent });
  members.set(id, member);
  return member;
}

/** What systemd would do: a process whose log failed is started anew. A bug is a violation. */
function supervise(cluster: Cluster, id: PeerId, event: NodeEvent): void {
  if (event.kind !== 'failed') return;
  const member = cluster.members.get(id)!;
  const { error } = event;
  if (!['log-failed', 'no-space', 'snapshot-missing', 'cancelled'].includes(error.code)) {
    cluster.checks.fail(
      `member ${id}: ${error.message}${error.state ? `: ${error.state}` : ''}${error.cause instanceof Error ? `: ${error.cause.stack}` : ''}`,
    );
  }
  if (error.code === 'snapshot-missing' && !member.wasFlipped)
    cluster.checks.fail(`member ${id}: ${error.message}: ${error.state}`);
  cluster.world.after(50, '', () => {
    if (!member.node?.isHalted) return;
    member.kill();
    cluster.world.after(50, '', () => member.start());
  });
}

function runUntil(cluster: Cluster, time: number): void {
  while (!cluster.checks.violation() && cluster.world.step(time));
}

function pickMember(cluster: Cluster, place: number): Member {
  const all = [...cluster.members.values()];
  return all[place % all.length]!;
}

function carryOut(cluster: Cluster, fault: Fault): void {
  const { world, network, members } = cluster;
  world.note(`fault ${JSON.stringify(fault)}`);
  switch (fault.kind) {
    case 'cut':
      cutLinks(network, [...members.keys()], fault);
      return;
    case 'heal':
      network.healAll();
      tellEnd(cluster, nobody);
      return;
    case 'quality':
      Object.assign(network.quality, {
        drop: fault.drop,
        repeat: fault.repeat,
        delayMax: fault.delayMax,
        veryLate: fault.veryLate,
      });
      return;
    case 'crash-all':
      for (const member of members.values()) {
        member.crash();
        world.after(fault.downFor, '', () => member.start());
      }
      return;
    case 'members':
      changeMembers(cluster, createRandom(fault.draw, 'change'), fault.times);
      return;
    default:
      strike(cluster, pickMember(cluster, fault.member), fault);
      return;
  }
}

/** Others notice that a process has ended, or (`nobody`) that no member leads although they meet again: or not, or late, or wrongly. */
function tellEnd({ world, members, seed }: Cluster, gone: PeerId): void {
  const random = createRandom(seed, `refusals ${gone} ${world.now()}`);
  for (const one of members.values())
    if (one.id !== gone && random.chance(0.6)) one.later(random.between(1, 40), '', () => one.node?.ended(gone));
}

/** Faults of one machine. */
function strike(
  cluster: Cluster,
  member: Member,
  fault: Exclude<Fault, { readonly kind: 'cut' | 'heal' | 'quality' | 'crash-all' | 'members' }>,
): void {
  const { world } = cluster;
  const { disk } = member;
  switch (fault.kind) {
    case 'crash':
    case 'kill':
      if (fault.kind === 'crash') member.crash();
      else member.kill();
      if (fault.kind === 'kill') tellEnd(cluster, member.id);
      world.after(fault.downFor, '', () => member.start());
      return;
    case 'crash-at-write':
      if (member.isUp) member.crashAfterWrites = fault.writes;
      world.after(fault.downFor, '', () => member.start());
      return;
    case 'pause':
      member.pausedUntil = world.now() + fault.units;
      return;
    case 'stall-disk':
      member.stalledUntil = world.now() + fault.units;
      return;
    case 'fail-sync':
      if (member.isUp) disk.failSyncs += 1;
      return;
    case 'fail-write':
      if (member.isUp) disk.failWrites += 1;
      return;
    case 'full-disk':
      disk.capacityBytes = disk.usedBytes() + fault.freeBytes;
      world.after(fault.units, '', () => {
        disk.capacityBytes = Number.POSITIVE_INFINITY;
        if (!member.isUp) member.start();
      });
      return;
    case 'flip':
      flipBit(cluster, member, fault);
      return;
    case 'clock':
      member.rate = fault.rate;
      return;
    case 'burst':
      member.burst(fault.ticks);
      return;
    case 'slow-apply':
      member.slowApply = fault.units;
      return;
    case 'transfer':
      for (const other of cluster.members.values())
        if (other.node?.status().role === 'leader') other.node.transferTo(member.id);
  }
}

/**
 * One member's disk may lose a bit; two could be a majority. A group that began with fewer than three voters may have a change
 * under way that makes it two again (`votersMin`), of which one is a half.
 */
function flipBit(cluster: Cluster, member: Member, fault: Fault & { readonly kind: 'flip' }): void {
  if (cluster.flipped || cluster.setting.voters < 3) return;
  const files = [
    ...member.disk.list('/raft/wal').map(name => `/raft/wal/${name}`),
    ...member.disk.list('/raft/snap').map(name => `/raft/snap/${name}`),
  ];
  if (files.length === 0) return;
  const path = files[fault.place % files.length]!;
  const size = member.disk.contentOf(path).length;
  if (size === 0) return;
  cluster.flipped = true;
  member.wasFlipped = true;
  member.disk.flipBit(path, Math.floor(fault.place / files.length) % size, fault.bit);
}

function changeMembers(cluster: Cluster, random: Random, times: number): void {
  const leader = findLeader(cluster);
  if (!leader) return;
  const fresh = () => {
    const member = addMember(cluster);
    member.start();
    return member.id;
  };
  const votersMin = cluster.setting.voters > 2 ? 3 : 2;
  for (let time = 0; time < times; time += 1) {
    const change = chooseChange(leader.node!.status().confState, random, { fresh, votersMin });
    if (change) leader.node!.changeMembers(change, () => undefined);
  }
}

function findLeader(cluster: Cluster): Member | undefined {
  const leaders = [...cluster.members.values()].filter(member => member.node?.status().role === 'leader');
  return leaders.sort((a, b) => b.node!.status().term - a.node!.status().term)[0];
}

/** Everything works again from now on: within a bounded time all must agree, take a write and answer a read. */
function heal(cluster: Cluster): void {
  const { world, network, members, setting } = cluster;
  network.healAll();
  Object.assign(network.quality, { drop: 0, repeat: 0, delayMax: 3, veryLate: 0 });
  for (const member of members.values()) {
    Object.assign(member, {
      rate: 1,
      diskDelayMax: 2,
      stalledUntil: 0,
      pausedUntil: 0,
      slowApply: 0,
      crashAfterWrites: undefined,
    });
    Object.assign(member.disk, { capacityBytes: Number.POSITIVE_INFINITY, failSyncs: 0, failWrites: 0 });
    member.start();
  }
  const election = setting.limits.electionTicks * setting.tickUnits;
  // What was paused or on its way very late comes in the first part; the second must be calm.
  runUntil(cluster, world.now() + 3100);
  for (const member of members.values()) member.start();
  let term: number | undefined;
  for (let round = 0; round < 20 && !cluster.checks.violation(); round += 1) {
    runUntil(cluster, world.now() + election);
    const leader = findLeader(cluster);
    if (leader && isJoint(configOf(leader.node!.status().confState)))
      leader.node!.changeMembers({ transition: 'auto', changes: [], context: new Uint8Array(0) }, () => undefined);
    if (leader && isSettled(cluster, leader)) {
      if (term === leader.node!.status().term) {
        proveAlive(cluster, leader);
        return;
      }
      term = leader.node!.status().term;
    }
  }
  cluster.checks.fail(`liveness: not settled after healing: ${[...members.values()].map(showMember).join('; ')}`);
}

/** One leader, and everybody in its configuration has applied all that it has. */
function isSettled(cluster: Cluster, leader: Member): boolean {
  const { confState, applied, lastIndex } = leader.node!.status();
  if (isJoint(configOf(confState)) || applied !== lastIndex) return false;
  return membersOf(configOf(confState)).every(id => {
    const member = cluster.members.get(id)!;
    if (member.lost) return true;
    const status = member.node?.status();
    return (
      status?.applied === applied &&
      status.leader === leader.id &&
      (status.role === 'leader') === (id === leader.id) &&
      member.machine!.chain() === leader.machine!.chain()
    );
  });
}

function proveAlive(cluster: Cluster, leader: Member): void {
  let [written, readBack] = [false, false];
  let answer = 'no answer';
  leader.node!.propose(Buffer.from(JSON.stringify({ kind: 'write', key: 'last', value: 1, id: 0 })), outcome => {
    written = outcome.kind === 'committed';
    answer = JSON.stringify(outcome);
    leader.node?.read(read => {
      readBack = read.kind === 'ready' && leader.machine!.get('last') === 1;
    });
  });
  runUntil(cluster, cluster.world.now() + 300);
  if (!written || !readBack)
    cluster.checks.fail(
      `liveness: after healing a write was ${written ? 'taken' : `not taken (${answer}, lowSpace ${leader.node!.status().lowSpace})`}, a read ${readBack ? '' : 'not '}answered`,
    );
}

function showMember(member: Member): string {
  const status = member.node?.status();
  if (!status) return `${member.id} ${member.lost ? 'lost' : 'down'}`;
  const { role, term, leader, applied, lastIndex, confState } = status;
  return `${member.id} ${role} of ${leader} term ${term} applied ${applied} of ${lastIndex} voters ${confState.voters.join(',')}${confState.votersOutgoing.length > 0 ? `&&${confState.votersOutgoing.join(',')}` : ''} learners ${confState.learners.join(',')}`;
}
