/**
 * Names of services and tasks and what they stand for, from the tables; and who asks, from the tasks attached here.
 *
 * A task sees the services on its own networks, by full name ("demo_web"), by any alias, and those of its own stack by the
 * short name ("web") first. `tasks.<name>` gives the addresses of the tasks that serve, `<slot>.<name>` one of them,
 * `_<port>._tcp.<name>` their ports. An address leads back to `<slot>.<service>` or to the service. All of these also stand
 * under `<stack>.internal`, the search domain of a stack's tasks, where a short name is always the one of that stack.
 *
 * Pure. Not here: packets (answer.ts), sockets (server.ts).
 */

import type { TableEndpoint, TableService } from '../../gen/types.js';
import type { NetworkId, ServiceId } from '../../ids.js';
import type { Attachment } from '../attachment.js';
import { isAddressV4, numberOfV4, parsePrefix } from '../ip.js';
import { type Memo, openMemo } from '../memo.js';
import { type Index, indexTables, type Tables } from '../wanted.js';

export interface Asker {
  readonly stack: string;
  readonly networks: ReadonlySet<NetworkId>;
  /** Resolvers of its own for names outside; empty: those of the host. */
  readonly upstreams: readonly string[];
}

/** A service as it is seen on one network. */
interface Entry {
  readonly serviceId: ServiceId;
  readonly name: string;
  readonly stack: string;
  readonly networkId: NetworkId;
  /** Empty in dnsrr mode. */
  readonly vips: readonly string[];
  readonly tasks: readonly Slot[];
}

interface Slot {
  /** "1", or the name of the node for a task of a global service. */
  readonly label: string;
  readonly addresses: readonly string[];
}

export interface Records {
  readonly byName: ReadonlyMap<string, readonly Entry[]>;
  readonly byAddress: ReadonlyMap<string, Owner>;
  /** Networks with no way out: names of the world outside are none of the business of tasks on these alone. */
  readonly internal: ReadonlySet<NetworkId>;
  /** By network: the stacks that have services there. */
  readonly stacks: ReadonlyMap<NetworkId, ReadonlySet<string>>;
  readonly subnets: readonly { readonly base: number; readonly mask: number }[];
}

export type Answer =
  | { readonly kind: 'addresses'; readonly addresses: readonly string[]; readonly ttl: number }
  | { readonly kind: 'services'; readonly targets: readonly ServiceTarget[]; readonly ttl: number }
  | { readonly kind: 'pointer'; readonly name: string; readonly ttl: number }
  /** The name exists, but has nothing of that type. */
  | { readonly kind: 'empty' }
  | { readonly kind: 'no-such-name' }
  /** Not a name of the cluster. */
  | { readonly kind: 'outside' };

interface ServiceTarget {
  readonly name: string;
  readonly port: number;
  readonly addresses: readonly string[];
}

export type QuestionType = 'A' | 'AAAA' | 'PTR' | 'SRV' | 'other';

/** A VIP stays for the life of its service; tasks come and go. */
const vipTtlSeconds = 30;
const tasksTtlSeconds = 1;

/** What each service adds, kept from one set of tables to the next. */
export type RecordParts = Memo<TableService, RecordPart>;

interface RecordPart {
  readonly names: readonly (readonly [name: string, entry: Entry])[];
  readonly addresses: readonly (readonly [address: string, owner: Owner])[];
}

interface Owner {
  readonly name: string;
  readonly networkId: NetworkId;
}

export function buildRecords(tables: Tables, parts: RecordParts = openMemo()): Records {
  const index = indexTables(tables);
  const byName = new Map<string, Entry[]>();
  const byAddress = new Map<string, Owner>();
  const stacks = new Map<NetworkId, Set<string>>();
  const none: readonly TableEndpoint[] = [];
  for (const service of index.services) {
    const endpoints = index.endpointsOf.get(service.serviceId) ?? none;
    // Tasks of global services bear the names of their nodes.
    const nodes = endpoints.map(endpoint => (endpoint.slot === 0 ? index.nodes.get(endpoint.nodeId) : undefined));
    const part = parts(service, [...endpoints, ...nodes], () => recordPart(service, endpoints, index));
    for (const [name, entry] of part.names) {
      append(byName, name, entry);
      if (entry.stack === '') continue;
      const there = stacks.get(entry.networkId);
      if (there === undefined) stacks.set(entry.networkId, new Set([entry.stack.toLowerCase()]));
      else there.add(entry.stack.toLowerCase());
    }
    for (const [address, owner] of part.addresses) byAddress.set(address, owner);
  }
  return {
    byName,
    byAddress,
    stacks,
    internal: new Set(index.networks.filter(network => network.internal).map(network => network.networkId)),
    subnets: index.networks
      .flatMap(network => network.subnets.filter(subnet => isAddressV4(subnet.split('/')[0] ?? '')))
      .map(subnet => maskOf(subnet)),
  };
}

function recordPart(service: TableService, endpoints: readonly TableEndpoint[], { nodes }: Index): RecordPart {
  const names: [string, Entry][] = [];
  const addresses: [string, Owner][] = [];
  for (const entry of entriesOf(service, endpoints, id => nodes.get(id)?.name ?? id)) {
    const { networkId } = entry;
    for (const name of namesOf(service, networkId)) names.push([name.toLowerCase(), entry]);
    for (const vip of entry.vips) addresses.push([vip, { name: service.name, networkId }]);
    for (const task of entry.tasks) {
      const owner = { name: `${task.label}.${service.name}`, networkId };
      for (const address of task.addresses) addresses.push([address, owner]);
    }
  }
  return { names, addresses };
}

function append<Value>(map: Map<string, Value[]>, key: string, value: Value): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}

function entriesOf(
  service: TableService,
  endpoints: readonly TableEndpoint[],
  nodeName: (nodeId: string) => string,
): Entry[] {
  const networks = new Set([
    ...service.vips.map(vip => vip.networkId),
    ...endpoints.flatMap(endpoint => endpoint.addresses.map(one => one.networkId)),
  ]);
  return [...networks].map(networkId => ({
    serviceId: service.serviceId,
    name: service.name,
    stack: service.stack,
    networkId,
    vips: service.endpointMode === 'dnsrr' ? [] : addressesOn(networkId, service.vips),
    tasks: endpoints
      .filter(endpoint => endpoint.serving)
      .map(endpoint => ({
        label: endpoint.slot === 0 ? nodeName(endpoint.nodeId).toLowerCase() : String(endpoint.slot),
        addresses: addressesOn(networkId, endpoint.addresses),
      }))
      .filter(slot => slot.addresses.length > 0),
  }));
}

function addressesOn(
  networkId: NetworkId,
  list: readonly { readonly networkId: NetworkId; readonly addresses: readonly string[] }[],
): string[] {
  return list.filter(one => one.networkId === networkId).flatMap(one => one.addresses.filter(isAddressV4));
}

function namesOf(service: TableService, networkId: NetworkId): Set<string> {
  const aliases = service.networks.filter(one => one.network === networkId).flatMap(one => one.aliases);
  return new Set([service.name, ...aliases, ...shortNameOf(service)]);
}

function shortNameOf({ name, stack }: TableService): string[] {
  return stack !== '' && name.startsWith(`${stack}_`) ? [name.slice(stack.length + 1)] : [];
}

export function askerOf(attachment: Attachment): Asker {
  const { stack, endpoints, upstreams } = attachment;
  return { stack, networks: new Set(endpoints.map(endpoint => endpoint.networkId)), upstreams };
}

function isInternal({ internal }: Records, { networks }: Asker): boolean {
  return networks.size > 0 && [...networks].every(id => internal.has(id));
}

function maskOf(subnet: string): { base: number; mask: number } {
  const { address, bits } = parsePrefix(subnet);
  const mask = bits === 0 ? 0 : (0xffffffff << (32 - bits)) >>> 0;
  return { base: (numberOfV4(address) & mask) >>> 0, mask };
}

/** `name` without a closing dot, in any case of letters. */
export function findAnswer(records: Records, asker: Asker, question: { name: string; type: QuestionType }): Answer {
  const whole = question.name.toLowerCase();
  if (question.type === 'PTR') return findPointer(records, asker, whole);
  const domain = findDomain(records, asker, whole);
  if (domain !== undefined) return findName(records, asker, { ...domain, type: question.type });
  return findName(records, asker, { name: whole, stack: undefined, type: question.type });
}

interface Domain {
  readonly name: string;
  /** The stack whose services are meant; undefined: any, those of the asker's own first. */
  readonly stack: string | undefined;
}

/** The part before `<stack>.internal`, where that is a stack that the asker sees; others' names under `internal` are outside. */
function findDomain({ stacks }: Records, asker: Asker, whole: string): Domain | undefined {
  const [, name, stack] = /^(?:(.+)\.)?([^.]+)\.internal$/.exec(whole) ?? [];
  if (stack === undefined) return undefined;
  const isOwn = asker.stack.toLowerCase() === stack;
  const isSeen = isOwn || [...asker.networks].some(network => stacks.get(network)?.has(stack) === true);
  return isSeen ? { name: name ?? '', stack } : undefined;
}

function findName(records: Records, asker: Asker, question: Domain & { readonly type: QuestionType }): Answer {
  const { name } = question;
  if (question.stack !== undefined && name === '') return { kind: 'empty' };
  const service = /^_(\d{1,5})\._(tcp|udp)\.(.+)$/.exec(name) ?? undefined;
  if (service !== undefined)
    return findService(records, asker, { ...question, service: service[3] ?? '', port: Number(service[1]) });
  const found = findAddresses(records, asker, question);
  if (found === 'no-such-slot') return { kind: 'no-such-name' };
  if (found !== undefined) {
    if (question.type !== 'A' || found.addresses.length === 0) return { kind: 'empty' };
    return { kind: 'addresses', ...found };
  }
  return unknown(records, asker, question);
}

/** A name without a dot is nobody's business outside, and no resolver there could know it; nor one under a stack's domain. */
function unknown(records: Records, asker: Asker, { name, stack }: Domain): Answer {
  const isOurs = stack !== undefined || !name.includes('.') || isInternal(records, asker);
  return { kind: isOurs ? 'no-such-name' : 'outside' };
}

/** undefined: not a name of anything that the asker sees. */
function findAddresses(
  records: Records,
  asker: Asker,
  { name, stack }: Domain,
): { addresses: string[]; ttl: number } | 'no-such-slot' | undefined {
  const whole = visible(records, asker, { name, stack });
  if (whole.length > 0) {
    const vips = whole.flatMap(entry => entry.vips);
    if (vips.length > 0) return { addresses: unique(vips), ttl: vipTtlSeconds };
    return { addresses: taskAddresses(whole), ttl: tasksTtlSeconds };
  }
  const dot = name.indexOf('.');
  if (dot < 0) return undefined;
  const entries = visible(records, asker, { name: name.slice(dot + 1), stack });
  if (entries.length === 0) return undefined;
  const label = name.slice(0, dot);
  if (label === 'tasks') return { addresses: taskAddresses(entries), ttl: tasksTtlSeconds };
  const addresses = taskAddresses(entries, label);
  if (addresses.length > 0) return { addresses, ttl: tasksTtlSeconds };
  // A number is a slot that has nobody now. Any other label may be of the world outside, where "org" is a name, too.
  return /^\d+$/.test(label) ? 'no-such-slot' : undefined;
}

/** Services of that name on networks of the asker; those of its own stack hide the others. */
function visible(records: Records, asker: Asker, { name, stack }: Domain): readonly Entry[] {
  const entries = (records.byName.get(name) ?? []).filter(entry => asker.networks.has(entry.networkId));
  if (stack !== undefined) return entries.filter(entry => entry.stack.toLowerCase() === stack);
  const own = entries.filter(entry => asker.stack !== '' && entry.stack === asker.stack);
  return own.length > 0 ? own : entries;
}

function taskAddresses(entries: readonly Entry[], label?: string): string[] {
  const slots = entries.flatMap(entry => entry.tasks);
  return unique(slots.filter(slot => label === undefined || slot.label === label).flatMap(slot => slot.addresses));
}

function unique(list: readonly string[]): string[] {
  return [...new Set(list)];
}

function findService(
  records: Records,
  asker: Asker,
  question: Domain & { readonly type: QuestionType; readonly service: string; readonly port: number },
): Answer {
  const { type, port, stack } = question;
  const entries = visible(records, asker, { name: question.service, stack });
  if (entries.length === 0 || port < 1 || port > 65_535) return unknown(records, asker, question);
  if (type !== 'SRV') return { kind: 'empty' };
  const targets = entries.flatMap(entry =>
    entry.tasks.map(({ label, addresses }) => ({ name: `${label}.${entry.name}`, port, addresses })),
  );
  return targets.length === 0 ? { kind: 'empty' } : { kind: 'services', targets, ttl: tasksTtlSeconds };
}

/** Addresses of the cluster's networks are never asked for outside, known or not. */
function findPointer(records: Records, asker: Asker, name: string): Answer {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa$/.exec(name) ?? undefined;
  if (parts === undefined) return { kind: isInternal(records, asker) ? 'no-such-name' : 'outside' };
  const address = parts.slice(1).reverse().map(Number).join('.');
  const known = records.byAddress.get(address);
  if (known !== undefined && asker.networks.has(known.networkId)) {
    return { kind: 'pointer', name: known.name, ttl: tasksTtlSeconds };
  }
  if (!isAddressV4(address)) return { kind: 'no-such-name' };
  const number = numberOfV4(address);
  const ours =
    records.subnets.some(({ base, mask }) => (number & mask) >>> 0 === base) || address.startsWith('169.254.');
  return { kind: ours || isInternal(records, asker) ? 'no-such-name' : 'outside' };
}
