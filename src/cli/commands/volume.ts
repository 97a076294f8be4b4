/**
 * Volumes of this node: made, listed with what they hold, removed.
 *
 * Not here: mounting them into services (--mount of service/list-flags.ts, `volumes` of stack files).
 */
import { CoveyError } from '../../errors.js';
import type { Volume } from '../../gen/types.js';
import { confirm } from '../confirm.js';
import type { CliContext } from '../context.js';
import { type CommandDefinition, formatOption, type Invocation, listOptions, yesOption } from '../definition.js';
import type { Flags } from '../flags.js';
import { exitCodes } from '../output/errors.js';
import type { JsonRecord } from '../output/format.js';
import { compareNames, type ListView, printInspection, printList } from '../output/list.js';
import { plural, renderAge, renderBytes, renderTime } from '../output/values.js';

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
    says: 'List the volumes of this node',
    about: 'Usage is at most a minute old; "-" stands for what cannot be counted in time, which is tried again later.',
    args: [],
    options: listOptions,
    examples: [
      { says: 'all volumes', line: 'covey volume ls' },
      { says: 'what each holds', line: "covey volume ls --format '{{.name}} {{.usage.bytes}}'" },
    ],
    run: runList,
  },
  {
    path: ['volume', 'inspect'],
    says: 'Show all about volumes of this node',
    args: [{ name: 'VOLUME', needed: true, many: true, completes: 'volume' }],
    options: [formatOption],
    examples: [
      { says: 'one volume', line: 'covey volume inspect shop_data' },
      { says: 'where its files are', line: "covey volume inspect --format '{{.path}}' shop_data" },
    ],
    run: runInspect,
  },
  {
    path: ['volume', 'rm'],
    says: 'Remove volumes of this node that no task uses, with all that is in them',
    args: [{ name: 'VOLUME', needed: true, many: true, completes: 'volume' }],
    options: [yesOption],
    examples: [
      { says: 'one volume', line: 'covey volume rm shop_data' },
      { says: 'in a script', line: 'covey volume rm --yes shop_data shop_cache' },
    ],
    run: runRemove,
  },
  {
    path: ['volume', 'prune'],
    says: 'Remove the volumes of this node that no task uses: anonymous ones, with --all named ones too',
    args: [],
    options: [{ flags: '-a, --all', says: 'Named volumes too' }, yesOption],
    examples: [
      { says: 'what tasks left behind', line: 'covey volume prune' },
      { says: 'all that is not in use, in a script', line: 'covey volume prune --all --yes' },
    ],
    run: runPrune,
  },
];

async function readVolumes(context: CliContext, names: readonly string[], usage: boolean): Promise<readonly Volume[]> {
  const { local } = await context.connect();
  const { volumes } = await local.listVolumes({ names, usage }, { signal: context.signal });
  return names.length > 0 ? volumes : [...volumes].sort((a, b) => compareNames(a.name, b.name));
}

export async function volumeNames(context: CliContext): Promise<readonly string[]> {
  return (await readVolumes(context, [], false)).map(volume => volume.name);
}

function volumeRecord(volume: Volume): JsonRecord {
  const { usage } = volume;
  return {
    name: volume.name,
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

function view(nowMs: number): ListView<Volume> {
  return {
    columns: [
      { header: 'VOLUME', cutTo: 20 },
      { header: 'TYPE' },
      { header: 'USED', align: 'right' },
      { header: 'INODES', align: 'right' },
      { header: 'FREE', align: 'right' },
      { header: 'TASKS', align: 'right' },
      { header: 'AGE' },
    ],
    row: volume => [
      volume.name,
      volume.options['type'] ?? 'directory',
      volume.usage === undefined ? '-' : renderBytes(volume.usage.bytes),
      volume.usage === undefined ? '-' : String(volume.usage.inodes),
      renderBytes(volume.freeBytes),
      String(volume.taskIds.length),
      volume.createdAtMs === 0 ? '-' : renderAge(nowMs - volume.createdAtMs),
    ],
    record: volumeRecord,
    id: volume => volume.name,
    name: volume => volume.name,
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
  const items = await readVolumes(context, [], !flags.isOn('quiet'));
  await printList(context, flags, { view: view(context.console.clock.wallMs()), items });
  return exitCodes.done;
}

async function runInspect({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const volumes = await readVolumes(context, args, true);
  await printInspection(
    context,
    flags,
    volumes.map(volume => ({ record: volumeRecord(volume), name: volume.name })),
  );
  return exitCodes.done;
}

async function runRemove({ args, flags }: Invocation, context: CliContext): Promise<number> {
  return await removeAll(context, flags, await readVolumes(context, args, true));
}

async function runPrune({ flags }: Invocation, context: CliContext): Promise<number> {
  const unused = (await readVolumes(context, [], true)).filter(volume => volume.taskIds.length === 0);
  const meant = unused.filter(volume => volume.anonymous || flags.isOn('all'));
  const kept = unused.length - meant.length;
  if (kept > 0) await context.note(`${plural(kept, 'named volume')} not in use stay; --all removes them too`);
  if (meant.length === 0) return exitCodes.done;
  return await removeAll(context, flags, meant);
}

async function removeAll(context: CliContext, flags: Flags, volumes: readonly Volume[]): Promise<number> {
  const { local } = await context.connect();
  await confirm(context, flags, {
    what: `remove ${plural(volumes.length, 'volume')} with all that is in them`,
    losses: volumes.map(
      ({ name, usage }) =>
        `${name}${usage === undefined ? '' : `: ${renderBytes(usage.bytes)} in ${plural(usage.inodes, 'inode')}`}`,
    ),
  });
  for (const { name } of volumes) {
    await local.removeVolume({ name }, { signal: context.signal });
    await context.print(name);
  }
  return exitCodes.done;
}
