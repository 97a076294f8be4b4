/**
 * Volumes of this node, and of others through the managers: made, listed with what they hold, removed.
 * A node that does not answer is told of; what the others say is shown all the same.
 *
 * Not here: mounting them into services (--mount of service/list-flags.ts, `volumes` of stack files).
 */
import { CoveyError } from '../../errors.js';
import type { Volume, VolumesRequest } from '../../gen/types.js';
import { confirm } from '../confirm.js';
import type { CliContext } from '../context.js';
import { type CommandDefinition, formatOption, type Invocation, listOptions, yesOption } from '../definition.js';
import type { Flags } from '../flags.js';
import { exitCodes } from '../output/errors.js';
import type { JsonRecord } from '../output/format.js';
import { compareNames, type ListView, printInspection, printList } from '../output/list.js';
import { plural, renderAge, renderBytes, renderTime } from '../output/values.js';

const nodeOption = {
  flags: '--node <node>',
  says: 'Of that node, or of all nodes: all (default: this one)',
  completes: 'node',
} as const;

export const volumeCommands: readonly CommandDefinition[] = [
  {
    path: ['volume', 'create'],
    says: 'Make an empty volume on this node',
    about:
      'A volume that a task names is made on its node by itself; this is for options and for filling it before. With options it is a file system of its own, mounted while a task uses it.',
    args: [{ name: 'VOLUME', needed: true }],
    options: [
      { flags: '-d, --driver <driver>', says: 'local, the only one', completes: ['local'] },
      { flags: '-o, --opt <option>', says: 'type=…, device=… or o=…, as mount(8) takes them', many: true },
      { flags: '--label <label>', says: 'Label, KEY=VALUE', many: true },
    ],
    examples: [
      { says: 'a directory', line: 'covey volume create data' },
      {
        says: 'a share of a file server',
        line: 'covey volume create -o type=nfs -o device=:/export/data -o o=addr=10.0.0.9 data',
      },
    ],
    run: runCreate,
  },
  {
    path: ['volume', 'ls'],
    says: 'List the volumes of this node, or of others',
    about: 'Usage is at most a minute old; "-" stands for what cannot be counted in time, which is tried again later.',
    args: [],
    options: [nodeOption, ...listOptions],
    examples: [
      { says: 'all volumes of the cluster', line: 'covey volume ls --node all' },
      { says: 'what each holds', line: "covey volume ls --format '{{.name}} {{.usage.bytes}}'" },
    ],
    run: runList,
  },
  {
    path: ['volume', 'inspect'],
    says: 'Show all about volumes of this node, or of others',
    args: [{ name: 'VOLUME', needed: true, many: true, completes: 'volume' }],
    options: [nodeOption, formatOption],
    examples: [
      { says: 'one volume, on whichever nodes it is', line: 'covey volume inspect --node all shop_data' },
      { says: 'where its files are', line: "covey volume inspect --format '{{.path}}' shop_data" },
    ],
    run: runInspect,
  },
  {
    path: ['volume', 'rm'],
    says: 'Remove volumes that no task uses, with all that is in them',
    args: [{ name: 'VOLUME', needed: true, many: true, completes: 'volume' }],
    options: [nodeOption, yesOption],
    examples: [
      { says: 'one volume of another node', line: 'covey volume rm --node rack2 shop_data' },
      { says: 'in a script', line: 'covey volume rm --yes shop_data shop_cache' },
    ],
    run: runRemove,
  },
  {
    path: ['volume', 'prune'],
    says: 'Remove the volumes that no task uses: anonymous ones, with --all named ones too',
    args: [],
    options: [{ flags: '-a, --all', says: 'Named volumes too' }, nodeOption, yesOption],
    examples: [
      { says: 'what tasks left behind', line: 'covey volume prune' },
      { says: 'all that is not in use anywhere, in a script', line: 'covey volume prune --all --node all --yes' },
    ],
    run: runPrune,
  },
];

/** A volume with the node that it lies on; undefined: this one. */
interface Kept {
  readonly node: string | undefined;
  readonly volume: Volume;
}

interface Found {
  readonly volumes: readonly Kept[];
  /** A node could not be asked; it was told. */
  readonly failed: boolean;
}

async function readVolumes(context: CliContext, names: readonly string[], usage: boolean): Promise<readonly Volume[]> {
  const { local } = await context.connect();
  const { volumes } = await local.listVolumes({ names, usage }, { signal: context.signal });
  return names.length > 0 ? volumes : [...volumes].sort((a, b) => compareNames(a.name, b.name));
}

async function findVolumes(
  context: CliContext,
  flags: Flags,
  asked: { readonly names: readonly string[]; readonly usage: boolean },
): Promise<Found> {
  const node = flags.text('node');
  if (node !== undefined) return await askNodes(context, { ...asked, node: node === 'all' ? '' : node, remove: false });
  const volumes = await readVolumes(context, asked.names, asked.usage);
  return { volumes: volumes.map(volume => ({ node: undefined, volume })), failed: false };
}

/** What those say that answer; a name that none of them has is an error. */
async function askNodes(context: CliContext, request: VolumesRequest): Promise<Found> {
  const { control } = await context.connect();
  const volumes: Kept[] = [];
  let failed = false;
  for await (const answer of control.askVolumes(request, { signal: context.signal })) {
    const sorted = [...answer.volumes].sort((a, b) => compareNames(a.name, b.name));
    volumes.push(...sorted.map(volume => ({ node: answer.nodeName, volume })));
    if (answer.problem === undefined) continue;
    failed = true;
    await context.note(`${answer.nodeName}: ${answer.problem.message}`);
  }
  const missing = failed ? undefined : request.names.find(name => !volumes.some(({ volume }) => volume.name === name));
  if (missing === undefined) return { volumes, failed };
  const where = request.node === '' ? 'any node' : `node "${request.node}"`;
  throw new CoveyError('not-found', `Cannot find volume "${missing}" on ${where}`, {
    hint: `covey volume ls --node ${request.node === '' ? 'all' : request.node}`,
  });
}

function codeOfFound({ failed }: Pick<Found, 'failed'>): number {
  return failed ? exitCodes.failed : exitCodes.done;
}

export async function volumeNames(context: CliContext): Promise<readonly string[]> {
  return (await readVolumes(context, [], false)).map(volume => volume.name);
}

function volumeRecord({ node, volume }: Kept): JsonRecord {
  const { usage } = volume;
  return {
    name: volume.name,
    ...(node === undefined ? {} : { node }),
    driver: 'local',
    path: volume.path,
    options: volume.options,
    labels: volume.labels,
    anonymous: volume.anonymous,
    mounted: volume.mounted,
    tasks: volume.taskIds,
    usage: usage === undefined ? null : { bytes: usage.bytes, inodes: usage.inodes, asOf: renderTime(usage.asOfMs) },
    freeBytes: volume.freeBytes,
    freeInodes: volume.freeInodes,
    createdAt: volume.createdAtMs === 0 ? null : renderTime(volume.createdAtMs),
  };
}

function view(nowMs: number, withNode: boolean): ListView<Kept> {
  return {
    columns: [
      ...(withNode ? [{ header: 'NODE', cutTo: 8 }] : []),
      { header: 'VOLUME', cutTo: 20 },
      { header: 'TYPE' },
      { header: 'USED', align: 'right' },
      { header: 'INODES', align: 'right' },
      { header: 'FREE', align: 'right' },
      { header: 'TASKS', align: 'right' },
      { header: 'AGE' },
    ],
    row: ({ node, volume }) => [
      ...(withNode ? [node ?? ''] : []),
      volume.name,
      volume.options['type'] ?? 'directory',
      volume.usage === undefined ? '-' : renderBytes(volume.usage.bytes),
      volume.usage === undefined ? '-' : String(volume.usage.inodes),
      renderBytes(volume.freeBytes),
      String(volume.taskIds.length),
      volume.createdAtMs === 0 ? '-' : renderAge(nowMs - volume.createdAtMs),
    ],
    record: volumeRecord,
    id: ({ volume }) => volume.name,
    name: ({ volume }) => volume.name,
  };
}

async function runCreate({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const driver = flags.text('driver') ?? 'local';
  if (driver !== 'local') throw new CoveyError('bad-argument', `Cannot use driver "${driver}"`, { hint: 'local' });
  const { local } = await context.connect();
  const [name = ''] = args;
  const request = { name, options: readPairs(flags, 'opt'), labels: readPairs(flags, 'label') };
  const volume = await local.createVolume(request, { signal: context.signal });
  await context.print(volume.name);
  return exitCodes.done;
}

function readPairs(flags: Flags, name: string): Readonly<Record<string, string>> {
  return Object.fromEntries(
    flags.list(name).map(text => {
      const at = text.indexOf('=');
      return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

async function runList({ flags }: Invocation, context: CliContext): Promise<number> {
  const found = await findVolumes(context, flags, { names: [], usage: !flags.isOn('quiet') });
  const nowMs = context.console.clock.wallMs();
  await printList(context, flags, { view: view(nowMs, flags.text('node') !== undefined), items: found.volumes });
  return codeOfFound(found);
}

async function runInspect({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const found = await findVolumes(context, flags, { names: args, usage: true });
  await printInspection(
    context,
    flags,
    found.volumes.map(kept => ({ record: volumeRecord(kept), name: kept.volume.name })),
  );
  return codeOfFound(found);
}

async function runRemove({ args, flags }: Invocation, context: CliContext): Promise<number> {
  return await removeAll(context, flags, await findVolumes(context, flags, { names: args, usage: true }));
}

async function runPrune({ flags }: Invocation, context: CliContext): Promise<number> {
  const found = await findVolumes(context, flags, { names: [], usage: true });
  const unused = found.volumes.filter(({ volume }) => volume.taskIds.length === 0);
  const meant = unused.filter(({ volume }) => volume.anonymous || flags.isOn('all'));
  const kept = unused.length - meant.length;
  if (kept > 0) await context.note(`${plural(kept, 'named volume')} not in use stay; --all removes them too`);
  if (meant.length === 0) return codeOfFound(found);
  return await removeAll(context, flags, { ...found, volumes: meant });
}

async function removeAll(context: CliContext, flags: Flags, found: Found): Promise<number> {
  const { local } = await context.connect();
  const { volumes } = found;
  await confirm(context, flags, {
    what: `remove ${plural(volumes.length, 'volume')} with all that is in them`,
    losses: volumes.map(({ node, volume: { name, usage } }) => {
      const place = node === undefined ? name : `${name} on ${node}`;
      return `${place}${usage === undefined ? '' : `: ${renderBytes(usage.bytes)} in ${plural(usage.inodes, 'inode')}`}`;
    }),
  });
  let { failed } = found;
  for (const node of new Set(volumes.map(kept => kept.node))) {
    const names = volumes.filter(kept => kept.node === node).map(({ volume }) => volume.name);
    if (node === undefined) {
      for (const name of names) {
        await local.removeVolume({ name }, { signal: context.signal });
        await context.print(name);
      }
      continue;
    }
    const removed = await askNodes(context, { node, names, usage: false, remove: true });
    for (const { volume } of removed.volumes) await context.print(volume.name);
    failed ||= removed.failed;
  }
  return codeOfFound({ failed });
}
