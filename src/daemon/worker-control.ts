/**
 * The Control service of a worker: it answers nothing, and says who would (ADR 14); but what it remembers of the members of its
 * cluster it tells whoever asks for no more than that (`node ls --stale`), for the day on which no manager answers.
 *
 * Called by member-node.ts. Not here: the managers' Control (control-route.ts).
 */
import { CoveyError } from '../errors.js';
import type { Services } from '../gen/services.js';
import type { ManagerAddress, Node, NodeDescription, TableItem } from '../gen/types.js';
import type { Handlers } from '../grpc.js';
import { asId, type NodeId } from '../ids.js';
import { parseHostPort } from './config.js';
import { gateControl } from './control-gate.js';
import { wishOf } from './sight.js';

type ControlHandlers = Handlers<Services['Control']>;

export interface WorkerMemory {
  readonly managers: () => readonly ManagerAddress[];
  readonly tables: () => ReadonlyMap<string, TableItem>;
  /** When a manager was last heard; 0: nobody can say. */
  readonly heardMs: () => number;
}

export function workerControl(memory: WorkerMemory): ControlHandlers {
  const refused = gateControl(() => {
    throw notManager(memory.managers());
  });
  return {
    ...refused,
    listNodes: async (request, context) => {
      if (wishOf(context) !== 'stale') return await refused.listNodes(request, context);
      const all = rememberedNodes(memory.tables(), memory.managers());
      const { objects } = request;
      return {
        nodes: objects.length === 0 ? all : objects.map(text => getNode(all, text)),
        tasks: {},
        reachable: [],
        lastHeardMs: {},
        leaderId: memory.managers().find(manager => manager.leader)?.nodeId ?? asId(''),
        asOf: { atMs: memory.heardMs(), why: 'remembered by this worker' },
      };
    },
  };
}

/** What Docker says in the same place, and where to go instead. */
function notManager(managers: readonly ManagerAddress[]): CoveyError {
  const hosts = managers
    .flatMap(({ addresses }) => addresses.slice(0, 1))
    .map(address => parseHostPort(address, 0).host);
  return new CoveyError('not-manager', 'Cannot answer: this node is not a manager', {
    state:
      hosts.length === 0 ? 'it is a worker, and knows no manager' : `it is a worker; managers: ${hosts.join(', ')}`,
    hint: hosts.length === 0 ? 'covey doctor' : `ssh ${hosts[0]} covey …; for what runs here: covey task ls --local`,
  });
}

/** The members as the tables for the overlay and the list of managers name them: their states are not known. */
function rememberedNodes(tables: ReadonlyMap<string, TableItem>, managers: readonly ManagerAddress[]): readonly Node[] {
  const named = [...tables.values()].flatMap(({ value }) => (value.kind === 'node' ? [value] : []));
  const unnamed = managers.filter(({ nodeId }) => named.every(node => node.nodeId !== nodeId));
  const nodes = named.map(({ nodeId, name, tunnelIndex, dataAddresses, dataPort }) => {
    const manager = managers.find(one => one.nodeId === nodeId);
    const addresses = manager?.addresses ?? dataAddresses;
    return nodeOf({ id: nodeId, name, tunnelIndex, addresses, dataAddresses, dataPort, manager });
  });
  const others = unnamed.map(manager =>
    nodeOf({
      id: manager.nodeId,
      name: manager.nodeId,
      tunnelIndex: 0,
      addresses: manager.addresses,
      dataAddresses: [],
      dataPort: 0,
      manager,
    }),
  );
  return [...nodes, ...others];
}

function nodeOf(known: {
  readonly id: NodeId;
  readonly name: string;
  readonly tunnelIndex: number;
  readonly addresses: readonly string[];
  readonly dataAddresses: readonly string[];
  readonly dataPort: number;
  readonly manager: ManagerAddress | undefined;
}): Node {
  const { id, name, tunnelIndex, addresses, dataAddresses, dataPort, manager } = known;
  return {
    id,
    meta: { version: 0, createdAtMs: 0, updatedAtMs: 0, owner: '' },
    spec: { name, labels: {}, availability: 'active' },
    role: manager === undefined ? 'worker' : 'manager',
    description: { ...nothingKnown, hostname: name, addresses, dataAddresses, dataPort },
    status: { state: 'unknown', sinceMs: 0, message: '' },
    tunnelIndex,
    certificateExpiresAtMs: 0,
    raftId: manager?.raftId ?? 0,
    demoting: false,
  };
}

const nothingKnown: Omit<NodeDescription, 'hostname' | 'addresses' | 'dataAddresses' | 'dataPort'> = {
  os: '',
  architecture: '',
  kernel: '',
  cpuNanos: 0,
  memoryBytes: 0,
  runtime: '',
  cgroup: '',
  version: '',
  labels: {},
  images: [],
  volumes: [],
  routes: [],
  userns: false,
  privileged: false,
};

function getNode(nodes: readonly Node[], text: string): Node {
  const found = nodes.find(node => node.id === text || node.spec.name === text);
  if (found !== undefined) return found;
  throw new CoveyError('not-found', `Cannot find node "${text}"`, {
    state: `${nodes.length} nodes are remembered here, none has that name or id`,
    hint: 'covey node ls --stale',
  });
}
