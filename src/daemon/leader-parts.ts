/**
 * What only the manager that leads runs: the sessions of the nodes, the loops over services, and the loop over the managers'
 * own group. All of it lives in one scope and is gone before this manager leads again.
 *
 * Opened through group/leadership.ts. Not here: what a manager runs whether it leads or not (cluster-parts.ts).
 */
import type { ManagerAddress } from '../gen/types.js';
import type { Host } from '../host.js';
import type { NodeId } from '../ids.js';
import type { Lifetime } from '../lifetime.js';
import type { Store, StoreEvent } from '../raft/store.js';
import type { Telemetry } from '../telemetry.js';
import type { Wire } from '../wire.js';
import { openFullness } from './allocate/fullness.js';
import { openRotation } from './ca/rotation.js';
import { type Dispatcher, openDispatcher } from './dispatcher/index.js';
import { openEncryption } from './encryption/loop.js';
import type { Group } from './group/group.js';
import { openMembers } from './group/members.js';
import { openManager } from './manager.js';
import { openFloating } from './orchestrate/floating.js';

export interface LeaderParts {
  readonly dispatcher: Dispatcher;
  /** The members of the group changed, or who leads: nodes are told, the loop over the members looks. */
  readonly groupChanged: () => void;
}

export function openLeaderParts(options: {
  readonly host: Host;
  readonly wire: Wire;
  readonly telemetry: Telemetry;
  readonly store: Store;
  readonly group: Group;
  readonly nodeId: NodeId;
  readonly term: number;
  /** Of this leadership. */
  readonly lifetime: Lifetime;
}): LeaderParts {
  const { host, telemetry, store, group, term, lifetime } = options;
  const { clock, random } = host;
  const { log } = telemetry;
  const dispatcher = openDispatcher({
    store,
    term,
    clock,
    log: log.with({ part: 'dispatcher' }),
    lifetime,
    managers: group.managers,
    ownNodeId: options.nodeId,
    count: telemetry.count,
    wire: options.wire,
  });
  const { waitsFor } = dispatcher;
  lifetime.own(openManager({ store, clock, random, log: log.with({ part: 'manager' }), lifetime, waitsFor }));
  openFullness({ store, clock, telemetry, lifetime });
  const look = openMembers({ store, group, clock, log: log.with({ part: 'members' }), lifetime });
  openFloating({ store, clock, log: log.with({ part: 'floating' }), lifetime });
  openRotation({ store, clock, log: log.with({ part: 'ca' }), lifetime });
  openEncryption({ store, clock, log: log.with({ part: 'encryption' }), lifetime });
  let told = JSON.stringify(group.managers());
  const tell = (): void => {
    const managers: readonly ManagerAddress[] = group.managers();
    if (JSON.stringify(managers) === told) return;
    told = JSON.stringify(managers);
    dispatcher.managersChanged();
  };
  const watch = store.watch(events => {
    if (events.some(concernsManagers)) tell();
  });
  lifetime.defer('managers/watch', () => watch[Symbol.dispose]());
  return {
    dispatcher,
    groupChanged: () => {
      tell();
      look();
    },
  };
}

function concernsManagers(event: StoreEvent): boolean {
  if (event.table !== 'node') return false;
  return (event.kind === 'put' && event.object.raftId !== 0) || (event.old !== undefined && event.old.raftId !== 0);
}
