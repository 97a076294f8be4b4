/**
 * A service's spec as it is stored: networks, secrets and configs by id, a network for those that name none; and the checks
 * that depend on other objects (published ports).
 *
 * Called by services.ts and stacks.ts inside the decision of a transaction, so that what is found is still there when it is
 * stored. Not here: the spec by itself (validate.ts).
 */
import { CoveyError } from '../../errors.js';
import type { FileReference, Network, PortSpec, Service, ServiceSpec } from '../../gen/types.js';
import type { View } from '../../raft/store.js';
import { findListener, portKey, portsInUse } from '../allocate/ports.js';
import { clusterSpecOf } from '../tables.js';
import { refuseAt } from './check.js';
import { getObject } from './find.js';

/** Objects that the transaction is about to make, by name. */
export interface Upcoming {
  readonly networks: ReadonlyMap<string, Network>;
  readonly secrets: ReadonlyMap<string, string>;
  readonly configs: ReadonlyMap<string, string>;
}

export const nothingUpcoming: Upcoming = { networks: new Map(), secrets: new Map(), configs: new Map() };

export function resolveSpec(view: View, spec: ServiceSpec, upcoming: Upcoming): ServiceSpec {
  const networks = attachmentsOf(view, spec, upcoming);
  checkDrivers(spec, networks);
  const file =
    (table: 'secret' | 'config', made: ReadonlyMap<string, string>) =>
    (reference: FileReference): FileReference => ({
      ...reference,
      source: made.get(reference.source) ?? getObject(view, table, reference.source).id,
      target: reference.target === '' ? nameOf(view, table, reference.source) : reference.target,
    });
  const containers = spec.task.containers.map(container => ({
    ...container,
    secrets: container.secrets.map(file('secret', upcoming.secrets)),
    configs: container.configs.map(file('config', upcoming.configs)),
  }));
  const attachments = networks.map(({ network, aliases }) => ({ network: network.id, aliases }));
  return { ...spec, task: { ...spec.task, containers, networks: attachments } };
}

interface Attached {
  readonly network: Network;
  readonly aliases: readonly string[];
}

function attachmentsOf(view: View, spec: ServiceSpec, { networks }: Upcoming): readonly Attached[] {
  const get = (name: string): Network => {
    const network = networks.get(name) ?? getObject(view, 'network', name);
    if (network.removing !== true || networks.has(name)) return network;
    throw new CoveyError('network-not-found', `Cannot use network "${name}": it is being removed`);
  };
  if (spec.task.networks.length > 0) {
    return spec.task.networks.map(({ network, aliases }) => ({ network: get(network), aliases }));
  }
  const own = `${spec.stack}_default`;
  const name =
    spec.stack !== '' && (networks.has(own) || view.findByName('network', own) !== undefined) ? own : 'default';
  return [{ network: get(name), aliases: [] }];
}

function checkDrivers(spec: ServiceSpec, networks: readonly Attached[]): void {
  const special = networks.find(({ network }) => network.spec.driver !== 'overlay')?.network;
  const refuse = refuseAt(`service "${spec.name}"`);
  if (special === undefined) return;
  if (networks.length > 1) refuse(`network "${special.spec.name}" can't be combined with others`);
  if (spec.ports.some(port => port.mode !== 'host') || (special.spec.driver === 'none' && spec.ports.length > 0)) {
    refuse(`ports can't be published from network "${special.spec.name}"`);
  }
}

function nameOf(view: View, table: 'secret' | 'config', text: string): string {
  return view.find(table, text)?.spec.name ?? text;
}

/**
 * Refuses ports that a program of a machine listens on: published there it would be asked no more. Those that the service has
 * already are let be: a change of something else is none of the program's business. A port of mode host is placed where it is free.
 */
export function checkHostPortsFree(view: View, spec: ServiceSpec, had: readonly PortSpec[]): void {
  const known = new Set(had.filter(port => port.mode !== 'host').map(portKey));
  for (const port of spec.ports) {
    const key = portKey(port);
    if (port.published === 0 || port.mode === 'host' || known.has(key)) continue;
    for (const { spec: node, status, description } of view.list('node')) {
      const listener = status.state === 'left' ? undefined : findListener(description, port);
      if (listener === undefined) continue;
      throw new CoveyError('port-conflict', `Cannot publish port ${key} for service "${spec.name}"`, {
        state: `${listener.program || 'a program'} listens there on node ${node.name}`,
        hint: 'publish another port; with mode=host only nodes where it is free are used',
      });
    }
  }
}

/** Refuses ports that another service, or covey itself, has already. */
export function checkPortsFree(
  view: View,
  spec: ServiceSpec,
  others: readonly Pick<Service, 'ports' | 'spec' | 'removing'>[],
): void {
  if (spec.ports.every(port => port.published === 0)) return;
  const own = ownPorts(view);
  const present = others.filter(service => !service.removing);
  const used = portsInUse(present);
  for (const port of spec.ports) {
    if (port.published === 0) continue;
    const key = portKey(port);
    if (own.has(key)) {
      throw new CoveyError(
        'port-conflict',
        `Cannot publish port ${key} for service "${spec.name}": covey itself uses it`,
      );
    }
    if (!used.has(key)) continue;
    const holder = present.find(service => portsInUse([service]).has(key));
    const state = `service "${holder?.spec.name}" publishes it already`;
    throw new CoveyError('port-conflict', `Cannot publish port ${key} for service "${spec.name}"`, { state });
  }
}

function ownPorts(view: View): ReadonlySet<string> {
  const ports = new Set([`${clusterSpecOf(view).dataPort}/udp`]);
  for (const { description } of view.list('node')) {
    for (const address of description.addresses) ports.add(`${address.slice(address.lastIndexOf(':') + 1)}/tcp`);
  }
  return ports;
}
