/**
 * What a task's namespace and link are made from: everything that is needed to make them again, to route to them and to know
 * who asks the resolver. Kept as a file each in the run directory, written before anything is made.
 *
 * Not here: making and removing them (link.ts), the files (attachments.ts).
 */
import type { EndpointAddress, TableItem, Task } from '../gen/types.js';
import { asId, isId, type NetworkId, type ServiceId, type TaskId } from '../ids.js';
import { containerMac, taskDevice } from './constants.js';
import { isAddressV4 } from './ip.js';

export interface Attachment {
  readonly taskId: TaskId;
  readonly serviceId: ServiceId;
  readonly stack: string;
  /** none: a namespace with a loopback only. */
  readonly kind: 'overlay' | 'none';
  /** The first one is the source of what leaves the cluster. */
  readonly endpoints: readonly EndpointAddress[];
  /** Subnets of the networks beyond the first, and the address that packets to them come from. */
  readonly sources: readonly { readonly subnet: string; readonly source: string }[];
  /** Resolvers that names outside of the cluster are asked of, instead of those of the host. */
  readonly upstreams: readonly string[];
  readonly device: string;
  readonly mac: string;
  readonly mtu: number;
}

/** What a task asks for, or which networks have to be known first. */
export type AttachmentPlan =
  | { readonly kind: 'attach'; readonly attachment: Attachment }
  | { readonly kind: 'host' }
  | { readonly kind: 'wait'; readonly networks: readonly string[] };

/**
 * A task with one address needs nothing but its own record. With several, the subnets decide which address is the source of
 * what; without any, the driver of its network decides: both stand in the tables.
 */
export function planAttachment(task: Task, tables: ReadonlyMap<string, TableItem>, mtu: number): AttachmentPlan {
  const endpoints = task.endpoints.filter(endpoint => endpoint.addresses.some(isAddressV4));
  if (endpoints.length === 0 && task.spec.networks.length === 0) return attach(task, 'none', [], mtu);
  const wanted =
    endpoints.length === 0 ? task.spec.networks.map(one => one.network) : endpoints.map(one => one.networkId);
  const known = wanted.flatMap(id => {
    const item = tables.get(`network/${id}`);
    return item?.value?.kind === 'network' ? [item.value] : [];
  });
  if (endpoints.length === 1) return attach(task, 'overlay', endpoints, mtu);
  if (known.length < wanted.length) {
    return { kind: 'wait', networks: wanted.filter(id => !known.some(network => network.networkId === id)) };
  }
  if (endpoints.length === 0) {
    return known.some(network => network.driver === 'host') ? { kind: 'host' } : attach(task, 'none', [], mtu);
  }
  const isInternal = (endpoint: EndpointAddress): boolean =>
    known.some(network => network.networkId === endpoint.networkId && network.internal);
  const ordered = [...endpoints].sort((a, b) => Number(isInternal(a)) - Number(isInternal(b)));
  const sources = ordered.slice(1).flatMap(endpoint => {
    const subnets = known.find(network => network.networkId === endpoint.networkId)?.subnets ?? [];
    const source = endpoint.addresses.find(isAddressV4);
    return source === undefined ? [] : subnets.filter(isSubnetV4).map(subnet => ({ subnet, source }));
  });
  return attach(task, 'overlay', ordered, mtu, sources);
}

function isSubnetV4(subnet: string): boolean {
  return isAddressV4(subnet.split('/')[0] ?? '');
}

function attach(
  task: Task,
  kind: Attachment['kind'],
  endpoints: readonly EndpointAddress[],
  mtu: number,
  sources: Attachment['sources'] = [],
): AttachmentPlan {
  const first = endpoints[0]?.addresses.find(isAddressV4);
  return {
    kind: 'attach',
    attachment: {
      taskId: task.id,
      serviceId: task.serviceId,
      stack: task.stack,
      kind,
      endpoints,
      sources,
      upstreams: task.spec.containers[0]?.dns ?? [],
      device: taskDevice(task.id),
      mac: first === undefined ? '' : containerMac(first),
      mtu,
    },
  };
}

/** The IPv4 addresses of a task, the first one first. */
export function addressesOf(attachment: Attachment): string[] {
  return attachment.endpoints.flatMap(endpoint => endpoint.addresses.filter(isAddressV4));
}

export function renderAttachment(attachment: Attachment): string {
  return JSON.stringify(attachment);
}

/** undefined for what this version did not write. */
export function findAttachment(text: string): Attachment | undefined {
  const value = parseObject(text);
  if (value === undefined || !isId(String(value['taskId']))) return undefined;
  const list = (key: string): Record<string, unknown>[] => {
    const items = value[key];
    return Array.isArray(items) ? items.filter(item => typeof item === 'object' && item !== null) : [];
  };
  return {
    taskId: asId<TaskId>(String(value['taskId'])),
    serviceId: asId<ServiceId>(String(value['serviceId'])),
    stack: String(value['stack'] ?? ''),
    kind: value['kind'] === 'none' ? 'none' : 'overlay',
    endpoints: list('endpoints').map(endpoint => ({
      networkId: asId<NetworkId>(String(endpoint['networkId'])),
      addresses: Array.isArray(endpoint['addresses']) ? endpoint['addresses'].map(String) : [],
    })),
    sources: list('sources').map(one => ({ subnet: String(one['subnet']), source: String(one['source']) })),
    upstreams: Array.isArray(value['upstreams']) ? value['upstreams'].map(String) : [],
    device: String(value['device']),
    mac: String(value['mac']),
    mtu: Number(value['mtu']),
  };
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch {
    // Cut short by a crash: as good as absent, and the sweep removes what it stood for.
    return undefined;
  }
}
