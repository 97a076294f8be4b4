/**
 * What people do to the group while things go wrong: clients that write, swap and read, and an operator who changes the
 * members. Each call is recorded with its outcome, for the linearizability check.
 *
 * Not here: the faults (faults.ts), the check (../linearizability/).
 */
import { configOf, isJoint } from '../../../src/raft/core/confchange.js';
import type { ConfChangeSingle, ConfState, PeerId } from '../../../src/raft/core/types.js';
import type { MembershipChange, NodeProposeOutcome } from '../../../src/raft/node/types.js';
import type { Operation as HistoryOperation } from '../linearizability/checker.js';
import type { RegisterAction } from '../linearizability/models.js';
import type { Checks } from './checks.js';
import type { Member } from './member.js';
import type { Random } from './random.js';
import { encodeOperation, type Operation } from './register-machine.js';
import type { World } from './world.js';

export interface Workload {
  readonly history: () => HistoryOperation<RegisterAction>[];
  readonly counts: () => {
    readonly ok: number;
    readonly unknown: number;
    readonly refused: number;
    readonly reads: number;
  };
  /** Clients finish what they do and begin nothing more. */
  readonly stop: () => void;
}

export interface WorkloadOptions {
  readonly world: World;
  readonly random: Random;
  readonly checks: Checks;
  readonly members: ReadonlyMap<PeerId, Member>;
  readonly clients: number;
  readonly keys: number;
  readonly thinkMax: number;
  readonly dataBytesMax: number;
}

/** A client gives up waiting after so long; what it asked may still happen. */
const patienceUnits = 600;

export function startWorkload(options: WorkloadOptions): Workload {
  const { world, random, checks, members, clients, keys, thinkMax } = options;
  const history: HistoryOperation<RegisterAction>[] = [];
  const counts = { ok: 0, unknown: 0, refused: 0, reads: 0 };
  let [moment, nextValue, stopped] = [0, 1, false];
  const tick = () => {
    moment += 1;
    return moment;
  };
  const pickMember = () => {
    const up = [...members.values()].filter(member => member.isUp);
    const leaders = up.filter(member => member.node!.status().role === 'leader');
    if (leaders.length > 0 && random.chance(0.8)) return random.pick(leaders);
    return up.length > 0 ? random.pick(up) : undefined;
  };
  const think = (client: number) => {
    if (!stopped) world.after(random.between(1, thinkMax), '', () => act(client));
  };
  const act = (client: number) => {
    const member = pickMember();
    if (stopped) return;
    if (!member) return think(client);
    const key = `k${random.below(keys)}`;
    if (random.chance(0.35)) read(client, member, key);
    else change(client, member, key);
  };
  /** Calls `finish` once: with the answer, or with undefined when patience or the process ends. */
  const waitFor = <Answer>(finish: (answer: Answer | undefined) => void) => {
    let open = true;
    const once = (answer: Answer | undefined) => {
      if (!open) return;
      open = false;
      finish(answer);
    };
    world.after(patienceUnits, '', () => once(undefined));
    return once;
  };
  const read = (client: number, member: Member, key: string) => {
    const calledAt = tick();
    const committed = checks.committed();
    const done = waitFor<{ readonly value: number | undefined }>(answer => {
      if (answer) {
        counts.reads += 1;
        history.push({
          process: client,
          key,
          calledAt,
          returnedAt: tick(),
          action: { kind: 'read', value: answer.value, unknown: false },
        });
      }
      think(client);
    });
    member.node!.read(outcome => {
      if (outcome.kind !== 'ready') return done(undefined);
      if (outcome.index < committed)
        checks.fail(`read of member ${member.id} at ${outcome.index}, but ${committed} was committed before it began`);
      done({ value: member.machine?.get(key) });
    });
  };
  const change = (client: number, member: Member, key: string) => {
    const value = nextValue;
    nextValue += 1;
    const operation: Operation = random.chance(0.4)
      ? { kind: 'cas', key, from: random.chance(0.7) ? member.machine?.get(key) : random.below(nextValue), to: value }
      : { kind: 'write', key, value };
    const calledAt = tick();
    const data = encodeOperation(operation, random.below(10 ** random.between(1, options.dataBytesMax)));
    const done = waitFor<NodeProposeOutcome>(outcome => {
      record(client, { operation, calledAt }, outcome);
      think(client);
    });
    member.node!.propose(data, done);
  };
  const record = (
    client: number,
    call: { readonly operation: Operation; readonly calledAt: number },
    outcome: NodeProposeOutcome | undefined,
  ) => {
    const { operation, calledAt } = call;
    const returnedAt = outcome?.kind === 'committed' ? tick() : Number.POSITIVE_INFINITY;
    if (outcome?.kind === 'committed') counts.ok += 1;
    else if (outcome === undefined || outcome.kind === 'unknown') counts.unknown += 1;
    else {
      counts.refused += 1;
      return;
    }
    const action: RegisterAction =
      operation.kind === 'write'
        ? { kind: 'write', value: operation.value }
        : {
            kind: 'cas',
            from: operation.from,
            to: operation.to,
            outcome: outcome?.kind !== 'committed' ? 'unknown' : outcome.result === true ? 'swapped' : 'differed',
          };
    history.push({ process: client, key: operation.key, calledAt, returnedAt, action });
  };
  for (let client = 0; client < clients; client += 1) think(client);
  return {
    history: () => history,
    counts: () => counts,
    stop: () => {
      stopped = true;
    },
  };
}

export interface ChangeWish {
  /** Makes a new member. */
  readonly fresh: () => PeerId;
  readonly votersMin: number;
}

/** A change that the operator may wish for in this configuration. */
export function chooseChange(state: ConfState, random: Random, wish: ChangeWish): MembershipChange | undefined {
  const { fresh, votersMin } = wish;
  const context = new Uint8Array(0);
  if (isJoint(configOf(state))) return { transition: 'auto', changes: [], context };
  const single = (change: ConfChangeSingle) =>
    random.chance(0.5) ? { change, context } : ({ transition: 'auto', changes: [change], context } as const);
  const learner = state.learners[0];
  switch (random.below(5)) {
    case 0:
      return state.learners.length < 2 ? single({ kind: 'add-learner', peer: fresh() }) : undefined;
    case 1:
      return learner === undefined ? undefined : single({ kind: 'add-voter', peer: learner });
    case 2:
      return state.voters.length > votersMin ? single({ kind: 'remove', peer: random.pick(state.voters) }) : undefined;
    case 3:
      return state.voters.length < 5 ? single({ kind: 'add-voter', peer: fresh() }) : undefined;
    default: {
      const changes: ConfChangeSingle[] = [
        { kind: 'add-voter', peer: learner ?? fresh() },
        { kind: random.chance(0.7) ? 'remove' : 'add-learner', peer: random.pick(state.voters) },
      ];
      return { transition: random.pick(['auto', 'implicit', 'explicit'] as const), changes, context };
    }
  }
}
