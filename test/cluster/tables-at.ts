/**
 * What a node shows of the services of a dev-cluster: what its resolver tells a task about them, and the backends in its packet
 * rules. As one text, which is the same on all nodes with a task on the network once all have been told.
 */
import { type DevCluster, run, type TaskRow } from './dev-cluster.js';

/** Addresses of the tasks of `service` that the task in the network namespace `path` is told, sorted. */
export function askedIn(path: string, service: string): string {
  const asked = run(['nsenter', `--net=${path}`, 'busybox', 'nslookup', `tasks.${service}`, '169.254.1.1']);
  const found = [...asked.stdout.matchAll(/^Address(?: \d+)?: (\d+\.\d+\.\d+\.\d+)/gm)].map(match => match[1] ?? '');
  return [...new Set(found)]
    .filter(address => !address.startsWith('169.254.'))
    .sort()
    .join(' ');
}

/** `lookers` are the tasks of a global service, from which the resolvers are asked. */
export function tablesAt(
  cluster: DevCluster,
  index: number,
  { lookers, services }: { readonly lookers: readonly TaskRow[]; readonly services: readonly string[] },
): string {
  const { name, runDir } = cluster.node(index);
  const looker = lookers.find(task => task.node === name);
  const names = services.map(service => `${service}: ${askedIn(`${runDir}/netns/${looker?.id}`, service)}`);
  return [...names, `backends: ${backendsAt(`${runDir}/netns/fabric`, name)}`].join('\n');
}

function backendsAt(path: string, prefix: string): string {
  const listed = run(['nsenter', `--net=${path}`, 'nft', '-j', 'list', 'map', 'inet', prefix, 'backends']);
  if (listed.status !== 0) return `nft: ${listed.stderr}`;
  const { nftables } = JSON.parse(listed.stdout) as { nftables: readonly { map?: { elem?: readonly unknown[] } }[] };
  const elements = nftables.flatMap(({ map }) => map?.elem ?? []);
  return elements
    .map(element => JSON.stringify(element))
    .sort()
    .join(' ');
}
