/**
 * Images from registries, and the care of those that are here: pulled, tagged, exported, checked, pruned.
 *
 * Not here: import, ls, inspect, rm (image.ts), credentials (registry.ts).
 */
import { posix } from 'node:path';
import { CoveyError } from '../../errors.js';
import type { CheckImagesResponse, PullImageProgress } from '../../gen/types.js';
import { confirm } from '../confirm.js';
import type { CliContext } from '../context.js';
import { type CommandDefinition, type Invocation, jsonOption, yesOption } from '../definition.js';
import { exitCodes } from '../output/errors.js';
import { openLive } from '../output/live.js';
import { renderBytes, renderBytesOf } from '../output/values.js';
import { imageRecord } from '../records.js';

export const imageCareCommands: readonly CommandDefinition[] = [
  {
    path: ['image', 'pull'],
    says: 'Pull an image from its registry onto this node',
    about:
      'Tasks pull what they need by themselves. Layers that are here are not pulled again; a pull that was cut goes on where it was.',
    args: [{ name: 'IMAGE', needed: true }],
    options: [
      { flags: '--platform <platform>', says: 'Which image of an index, such as linux/arm64' },
      { flags: '-q, --quiet', says: 'Print only the digest' },
      jsonOption,
    ],
    examples: [
      { says: 'from docker.io', line: 'covey image pull nginx:1.29' },
      { says: 'from a registry of your own', line: 'covey image pull registry.site:5000/web:2' },
    ],
    run: runPull,
  },
  {
    path: ['image', 'tag'],
    says: 'Give an image of this node another name',
    args: [
      { name: 'IMAGE', needed: true, completes: 'image' },
      { name: 'NAME[:TAG]', needed: true },
    ],
    options: [],
    examples: [
      { says: 'a name of your own', line: 'covey image tag nginx:1.29 web:stable' },
      { says: 'by its digest', line: 'covey image tag 4f2a91c0 web:old' },
    ],
    run: runTag,
  },
  {
    path: ['image', 'export'],
    says: 'Write images as one archive',
    about:
      'The archive is an OCI layout and a docker-archive in one: docker, podman, skopeo and covey image import read it.',
    args: [{ name: 'IMAGE', needed: true, many: true, completes: 'image' }],
    options: [{ flags: '-o, --output <file>', says: 'Where to, instead of standard output', completes: 'file' }],
    examples: [
      { says: 'into a file', line: 'covey image export -o web.tar web:2' },
      { says: 'to another machine', line: 'covey image export web:2 | ssh edge covey image import -' },
    ],
    run: runExport,
  },
  {
    path: ['image', 'prune'],
    says: 'Remove images of this node that nobody needs',
    about: 'Without --all: images without a name, and parts that no image names. What a task uses stays in every case.',
    args: [],
    options: [
      { flags: '-a, --all', says: 'All images that no task of this node uses' },
      { flags: '-f, --filter <filter>', says: 'until=24h or until=2026-01-02T15:04:05Z: made before', many: true },
      yesOption,
      jsonOption,
    ],
    examples: [
      { says: 'what has no name any more', line: 'covey image prune' },
      { says: 'all that is older than a month and not in use', line: 'covey image prune -a -f until=720h --yes' },
    ],
    run: runPrune,
  },
  {
    path: ['image', 'fsck'],
    says: 'Check every blob and layer of this node',
    about:
      'Reads everything: each blob against its digest, each file of each layer against its blob. --repair unpacks layers anew and pulls damaged blobs again. Exit code 1 when damage is left.',
    args: [],
    options: [{ flags: '--repair', says: 'Mend what can be mended' }, jsonOption],
    examples: [
      { says: 'look', line: 'covey image fsck' },
      { says: 'mend', line: 'covey image fsck --repair' },
    ],
    run: runCheck,
  },
];

async function runPull({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const [name = ''] = args;
  const { local } = await context.connect();
  const { console } = context;
  const isJson = flags.text('format') === 'json';
  const isQuiet = flags.isOn('quiet');
  const live = context.isInteractive && !isQuiet && !isJson ? openLive(console.stdout, console.clock) : undefined;
  const request = { image: name, platform: flags.text('platform') ?? '' };
  let said = '';
  let last: PullImageProgress | undefined;
  for await (const progress of local.pullImage(request, { signal: context.signal })) {
    last = progress;
    live?.show([pullLine(name, progress), ...layerLines(progress)]);
    if (live === undefined && !isQuiet && !isJson && progress.note !== '' && progress.note !== said) {
      said = progress.note;
      await context.note(`${name}  ${progress.note}`);
    }
  }
  await live?.end([]);
  const image = last?.image;
  if (image === undefined) throw new CoveyError('internal', `Cannot tell what became of the pull of "${name}"`);
  if (isQuiet) await context.print(image.digest);
  else if (isJson) {
    const current = last?.current === true;
    await context.print(JSON.stringify({ ...imageRecord({ name: image.names[0] ?? '', image }), current }));
  } else {
    const how = last?.current === true ? 'is up to date' : 'pulled';
    await context.print(`${name}  ${image.digest}  ${renderBytes(image.sizeBytes)}  ${how}`);
  }
  return exitCodes.done;
}

function pullLine(name: string, { bytes, totalBytes, note }: PullImageProgress): string {
  const amount = totalBytes === 0 ? '' : `  ${renderBytesOf(bytes, totalBytes)}`;
  return `${name}${amount}${note === '' ? '' : `  ${note}`}`;
}

function layerLines({ layers }: PullImageProgress): readonly string[] {
  return layers.map(({ digest, step, bytes, totalBytes }) => {
    const short = digest.slice('sha256:'.length, 'sha256:'.length + 12);
    return `  ${short}  ${step === 'pulling' ? renderBytesOf(bytes, totalBytes) : step}`;
  });
}

async function runTag({ args }: Invocation, context: CliContext): Promise<number> {
  const [image = '', name = ''] = args;
  const { local } = await context.connect();
  await local.tagImage({ image, name }, { signal: context.signal });
  return exitCodes.done;
}

async function runExport({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const { console } = context;
  const output = flags.text('output');
  if (output === undefined && console.stdout.isTerminal) {
    throw new CoveyError('bad-argument', 'Cannot write an archive to a terminal', { hint: 'use -o FILE, or a pipe' });
  }
  const { local } = await context.connect();
  const pieces = local.exportImages({ images: args }, { signal: context.signal });
  if (output === undefined) {
    for await (const { data } of pieces) await console.stdout.write(data);
    return exitCodes.done;
  }
  await using file = await console.createFile(posix.resolve(console.directory, output));
  let bytes = 0;
  for await (const { data } of pieces) {
    await file.write(data);
    bytes += data.length;
  }
  await file.keep();
  await context.note(`${output}  ${renderBytes(bytes)}`);
  return exitCodes.done;
}

async function runPrune({ flags }: Invocation, context: CliContext): Promise<number> {
  const all = flags.isOn('all');
  const untilMs = untilOf(flags.list('filter'), context.console.clock.wallMs());
  if (all) {
    const what = 'remove all images that no task of this node uses';
    await confirm(context, flags, {
      what,
      losses: ['imported images are gone for good; pulled ones can be pulled again'],
    });
  }
  const { local } = await context.connect();
  const answer = await local.pruneImages({ all, untilMs }, { signal: context.signal });
  if (flags.text('format') === 'json') {
    await context.print(JSON.stringify(answer));
    return exitCodes.done;
  }
  for (const name of answer.untagged) await context.print(`untagged ${name}`);
  for (const digest of answer.deleted) await context.print(`deleted ${digest}`);
  await context.print(`freed ${renderBytes(answer.freedBytes)}`);
  return exitCodes.done;
}

const unitMs: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

function untilOf(filters: readonly string[], nowMs: number): number {
  let untilMs = 0;
  for (const filter of filters) {
    const text = /^until=(.+)$/u.exec(filter)?.[1];
    const span = /^(?:\d+(?:\.\d+)?[smhd])+$/u.test(text ?? '') ? text : undefined;
    const atMs =
      span === undefined
        ? Date.parse(text ?? '')
        : nowMs -
          [...span.matchAll(/(\d+(?:\.\d+)?)([smhd])/gu)].reduce(
            (sum, [, count, unit]) => sum + Number(count) * (unitMs[unit ?? ''] ?? 0),
            0,
          );
    if (Number.isNaN(atMs)) {
      throw new CoveyError('bad-argument', `Cannot use the filter "${filter}"`, {
        hint: 'until=24h, or until=2026-01-02T15:04:05Z',
      });
    }
    untilMs = untilMs === 0 ? Math.round(atMs) : Math.min(untilMs, Math.round(atMs));
  }
  return untilMs;
}

async function runCheck({ flags }: Invocation, context: CliContext): Promise<number> {
  const { local } = await context.connect();
  const { console } = context;
  const isJson = flags.text('format') === 'json';
  const live = context.isInteractive && !isJson ? openLive(console.stdout, console.clock) : undefined;
  const found: CheckImagesResponse[] = [];
  let checked = 0;
  for await (const answer of local.checkImages({ repair: flags.isOn('repair') }, { signal: context.signal })) {
    checked = Math.max(checked, answer.total);
    if (answer.damage === '') live?.show([`checked ${answer.checked} of ${answer.total}`]);
    else found.push(answer);
  }
  await live?.end([]);
  for (const { image, damage, outcome, repaired } of found) {
    const record = { image, damage, outcome, repaired };
    await context.print(isJson ? JSON.stringify(record) : `${image || '-'}  ${damage}  ${outcome}`);
  }
  const left = found.filter(({ repaired }) => !repaired).length;
  const sum = found.length === 0 ? 'no damage' : `${found.length} damaged, ${found.length - left} of them repaired`;
  if (!isJson) await context.print(`${checked} blobs and layers: ${sum}`);
  return left === 0 ? exitCodes.done : exitCodes.failed;
}
