/**
 * A few members on simulated machines for tests of single situations: a quiet network, time that is moved by hand.
 */
import type { PeerId } from '../../../src/raft/core/types.js';
import {
  type NodeEvent,
  type NodeLimits,
  type NodeProposeOutcome,
  type NodeReadOutcome,
  nodeDefaults,
} from '../../../src/raft/node/types.js';
import { type Checks, createChecks } from './checks.js';
import { Member } from './member.js';
import { createNetwork, type Network } from './network.js';
import { createRandom } from './random.js';
import { encodeOperation } from './register-machine.js';
import { createWorld, type World } from './world.js';

export interface SmallGroup {
  readonly world: World;
  readonly network: Network;
  readonly checks: Checks;
  readonly members: ReadonlyMap<PeerId, Member>;
  readonly events: readonly (readonly [PeerId, NodeEvent])[];
  run(units: number): void;
  /** Runs until it is so; throws after so many units. */
  until(what: string, isSo: () => boolean, units?: number): void;
  /** The leader of the highest term, once there is one that at least one other follows. */
  leader(): Member;
  add(id: PeerId): Member;
  write(member: Member, key: string, value: number, units?: number): NodeProposeOutcome | undefined;
  read(member: Member, units?: number): NodeReadOutcome | undefined;
}

export const tickUnits = 10;

export function openSmallGroup(size: number, limits: Partial<NodeLimits> = {}, seed = 1): SmallGroup {
  const world = createWorld();
  const checks = createChecks();
  const members = new Map<PeerId, Member>();
  const events: (readonly [PeerId, NodeEvent])[] = [];
  const network = createNetwork({
    world,
    random: createRandom(seed, 'network'),
    onSend: message => checks.onSend(message),
    deliver: (to, call) => {
      const member = members.get(to);
      member?.later(0, '', () => call(member.node!));
    },
  });
  const add = (id: PeerId) => {
    const member = new Member({
      id,
      seed,
      world,
      network,
      checks,
      tickUnits,
      segmentBytes: 4096,
      encrypted: false,
      limits: { ...nodeDefaults, ...limits },
      onEvent: (from, event) => events.push([from, event]),
    });
    members.set(id, member);
    return member;
  };
  const run = (units: number) => {
    const end = world.now() + units;
    while (world.step(end)) if (checks.violation()) throw new Error(checks.violation());
  };
  const until = (what: string, isSo: () => boolean, units = 2000) => {
    const end = world.now() + units;
    while (!isSo()) {
      if (world.now() >= end) throw new Error(`not within ${units} units: ${what}`);
      run(1);
    }
  };
  const ids = Array.from({ length: size }, (_, place) => place + 1);
  for (const id of ids) add(id);
  for (const id of ids) {
    members.get(id)!.bootstrap(ids);
    members.get(id)!.start();
  }
  const leading = () =>
    [...members.values()]
      .filter(member => member.node?.status().role === 'leader')
      .sort((a, b) => b.node!.status().term - a.node!.status().term)[0];
  return {
    world,
    network,
    checks,
    members,
    events,
    run,
    until,
    add,
    leader() {
      until('somebody leads', () => leading() !== undefined);
      return leading()!;
    },
    write(member, key, value, units = 400) {
      let outcome: NodeProposeOutcome | undefined;
      member.node!.propose(encodeOperation({ kind: 'write', key, value }, value), got => {
        outcome = got;
      });
      const end = world.now() + units;
      while (!outcome && world.now() < end) run(1);
      return outcome;
    },
    read(member, units = 400) {
      let outcome: NodeReadOutcome | undefined;
      member.node!.read(got => {
        outcome = got;
      });
      const end = world.now() + units;
      while (!outcome && world.now() < end) run(1);
      return outcome;
    },
  };
}
