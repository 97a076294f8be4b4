/**
 * What a manager runs besides its agent: the store on its log, the loops, the dispatcher, the CA, Control, and the server
 * that other nodes reach.
 *
 * Keeps true: parts that write end before the store does; the loops run only while this manager leads (a cluster of one
 * manager: as long as it runs).
 *
 * Called by member-node.ts. Not here: what each part does.
 */
import { CoveyError } from '../errors.js';
import type { Services } from '../gen/services.js';
import type { ManagerAddress, NodeRole } from '../gen/types.js';
import type { Handlers } from '../grpc.js';
import type { Host } from '../host.js';
import type { Lifetime } from '../lifetime.js';
import { openSoloLog } from '../raft/solo-log.js';
import { openStore, type Store, type Write } from '../raft/store.js';
import type { Telemetry } from '../telemetry.js';
import type { Wire } from '../wire.js';
import { openBulkRelay } from './bulk/index.js';
import { caHandlers, type IdentityHolder, tokenHandlers } from './ca/index.js';
import type { HostPort } from './config.js';
import { makeControl } from './control.js';
import { type Dispatcher, openDispatcher } from './dispatcher/index.js';
import { openManager } from './manager.js';
import { openClusterServer } from './rpc/index.js';
import type { BulkAgent } from './session/types.js';

export interface ClusterPartsOptions {
  readonly host: Host;
  readonly wire: Wire;
  readonly telemetry: Telemetry;
  readonly lifetime: Lifetime;
  readonly dataDir: string;
  readonly listen: HostPort;
  readonly identity: IdentityHolder;
  /** First transaction of a new cluster; empty for one that is there. */
  readonly bootstrap: readonly Write[];
  /** The worker half of this very node. */
  readonly agent: BulkAgent;
  readonly onStoreFailed: (error: Error) => void;
  readonly signal: AbortSignal;
}

export interface ClusterParts {
  readonly store: Store;
  readonly dispatcher: Dispatcher;
  readonly bulk: Handlers<Services['Dispatcher']>['bulk'];
  readonly control: Handlers<Services['Control']>;
  readonly managers: () => readonly ManagerAddress[];
}

export async function openClusterParts(options: ClusterPartsOptions): Promise<ClusterParts> {
  const { host, wire, lifetime, telemetry } = options;
  const { clock, random } = host;
  const log = telemetry.log;
  const store = lifetime.own(await openLeaderStore(options));
  if (options.bootstrap.length > 0) {
    await store.update(() => options.bootstrap, { principal: 'system', signal: options.signal });
  }
  // What writes to the store ends before it: a child scope is disposed first.
  const leading = lifetime.child('leading');
  const managers = (): readonly ManagerAddress[] => managersIn(store, options.identity.current().nodeId);
  const dispatcher = openDispatcher({
    store,
    term: store.log.term(),
    clock,
    log: log.with({ part: 'dispatcher' }),
    lifetime: leading,
    managers,
    count: telemetry.count,
  });
  leading.own(openManager({ store, clock, random, log: log.with({ part: 'manager' }), lifetime: leading }));
  const relay = openBulkRelay({
    store,
    clock,
    dispatcher: () => dispatcher,
    term: () => store.log.term(),
    own: { nodeId: options.identity.current().nodeId, agent: options.agent },
  });
  const control = makeControl({
    store,
    clock,
    random,
    tokens: workerTokensOnly(tokenHandlers({ store, clock, random, address: () => managers()[0]?.addresses[0] ?? '' })),
    bulk: relay,
    leaderId: () => options.identity.current().nodeId,
  });
  const { listen } = options;
  leading.own(
    await openClusterServer({
      host: listen.host,
      port: listen.port,
      identity: options.identity,
      wire,
      clock,
      services: {
        Ca: caHandlers({ store, clock, random, log: log.with({ part: 'ca' }), managers, settled: dispatcher.settled }),
        Dispatcher: { session: dispatcher.session, bulk: relay.bulk },
      },
      findMember: (nodeId): NodeRole | undefined => store.view().find('node', nodeId)?.role,
    }),
  );
  return { store, dispatcher, bulk: relay.bulk, control, managers };
}

/** The log of this version is that of one manager: a second one could not follow it. */
function workerTokensOnly(tokens: ReturnType<typeof tokenHandlers>): ReturnType<typeof tokenHandlers> {
  return {
    ...tokens,
    createJoinToken: async (request, context) => {
      if (request.role !== 'manager') return await tokens.createJoinToken(request, context);
      throw new CoveyError('one-manager', 'Cannot add a second manager', { hint: 'covey token worker' });
    },
  };
}

function openLeaderStore(options: ClusterPartsOptions) {
  const { host, wire, telemetry } = options;
  return openStore({
    wire,
    clock: host.clock,
    openLog: machine =>
      openSoloLog({
        directory: `${options.dataDir}/store`,
        files: host.files,
        clock: host.clock,
        machine,
        log: telemetry.log.with({ part: 'store' }),
        onFailed: options.onStoreFailed,
      }),
  });
}

function managersIn(store: Store, leaderId: string): readonly ManagerAddress[] {
  return [...store.view().list('node')]
    .filter(node => node.role === 'manager')
    .map(node => ({ nodeId: node.id, addresses: node.description.addresses, leader: node.id === leaderId }));
}
