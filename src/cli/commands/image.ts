/**
 * Images of this node: imported from archives, listed, inspected, removed.
 *
 * Not here: reading the archives (tasks/image, in the daemon): the bytes are handed over as they are.
 */
import { posix } from 'node:path';
import { CoveyError } from '../../errors.js';
import type { Image, ImportImageProgress, ImportImageRequest } from '../../gen/types.js';
import type { Duplex } from '../../grpc.js';
import type { CliContext } from '../context.js';
import { type CommandDefinition, formatOption, type Invocation, listOptions } from '../definition.js';
import { exitCodes } from '../output/errors.js';
import type { JsonRecord } from '../output/format.js';
import { compareNames, type ListView, printInspection, printList } from '../output/list.js';
import { openLive } from '../output/live.js';
import { renderBytes, renderBytesOf } from '../output/values.js';
import { imageRecord, type NamedImage } from '../records.js';

export const imageCommands: readonly CommandDefinition[] = [
  {
    path: ['image', 'import'],
    says: 'Read an archive into the image store of this node',
    about:
      'Takes what "docker save" writes, OCI archives and OCI layout directories, and the tarball of a root file system, which needs a name. "-" reads standard input.',
    args: [
      { name: 'FILE', needed: true, completes: 'file' },
      { name: 'NAME[:TAG]', needed: false },
    ],
    options: [
      {
        flags: '-c, --change <instruction>',
        says: 'Dockerfile instruction for the config, such as "CMD [\\"/bin/app\\"]"',
        many: true,
      },
      { flags: '--platform <platform>', says: 'Which image of an index, such as linux/arm64' },
      { flags: '-q, --quiet', says: 'Print only the digests' },
    ],
    examples: [
      { says: 'what docker save wrote, under the names in it', line: 'covey image import app.tar' },
      { says: 'a root file system', line: 'covey image import -c \'CMD ["/bin/sh"]\' rootfs.tar.gz hello:1' },
    ],
    run: runImport,
  },
  {
    path: ['image', 'ls'],
    says: 'List the images of this node',
    args: [],
    options: listOptions,
    examples: [
      { says: 'all images', line: 'covey image ls' },
      { says: 'the digest of one', line: "covey image ls -f name=hello:1 --format '{{.digest}}'" },
    ],
    run: runList,
  },
  {
    path: ['image', 'inspect'],
    says: 'Show all about images',
    args: [{ name: 'IMAGE', needed: true, many: true, completes: 'image' }],
    options: [formatOption],
    examples: [
      { says: 'one image', line: 'covey image inspect hello:1' },
      { says: 'what it runs', line: "covey image inspect --format '{{json .config.config}}' hello:1" },
    ],
    run: runInspect,
  },
  {
    path: ['image', 'rm'],
    says: 'Remove images that no task of this node uses',
    args: [{ name: 'IMAGE', needed: true, many: true, completes: 'image' }],
    options: [],
    examples: [
      { says: 'one name; the image goes with its last name', line: 'covey image rm hello:1' },
      { says: 'several', line: 'covey image rm hello:1 app:2' },
    ],
    run: runRemove,
  },
];

type ImportCall = Duplex<ImportImageRequest, ImportImageProgress>;

async function runImport({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const [file = '', name = ''] = args;
  const { console } = context;
  const path = file === '-' ? '-' : posix.resolve(console.directory, file);
  const kind = file === '-' ? 'other' : console.findKind(path);
  if (kind === undefined) throw new CoveyError('not-found', `Cannot import "${file}": there is no such file`);
  const source =
    file === '-'
      ? { sizeBytes: 0, chunks: console.stdin.read() }
      : kind === 'directory'
        ? undefined
        : await console.openFile(path);
  const { local } = await context.connect();
  const live = context.isInteractive && !flags.isOn('quiet') ? openLive(console.stdout, console.clock) : undefined;
  const call = local.importImage({ signal: context.signal });
  const start = {
    name,
    changes: flags.list('change'),
    source: file,
    platform: flags.text('platform') ?? '',
    path: source === undefined ? path : '',
  };
  const sending = sendArchive(call, start, source?.chunks);
  // A refusal ends the answers first; sending then fails too, with less to say.
  sending.catch(() => undefined);
  let images: readonly Image[] = [];
  for await (const progress of call) {
    const bytes =
      (source?.sizeBytes ?? 0) > 0
        ? renderBytesOf(progress.bytes, source?.sizeBytes ?? 0)
        : renderBytes(progress.bytes);
    live?.show([`${file}  ${progress.step}  ${bytes}`]);
    if (progress.images.length > 0) images = progress.images;
  }
  await sending;
  await live?.end([]);
  for (const image of images) {
    const { digest } = image;
    await context.print(
      flags.isOn('quiet')
        ? digest
        : `${image.names.join(', ') || '(no name)'}  ${digest}  ${renderBytes(image.sizeBytes)}`,
    );
  }
  return exitCodes.done;
}

async function sendArchive(
  call: ImportCall,
  start: Omit<Extract<ImportImageRequest['body'], { kind: 'start' }>, 'kind'>,
  chunks: AsyncIterable<Uint8Array> | undefined,
): Promise<void> {
  await call.send({ body: { kind: 'start', ...start } });
  for await (const data of chunks ?? []) {
    await call.send({ body: { kind: 'data', stream: 'stdin', data, eof: false, atMs: 0 } });
  }
  if (chunks !== undefined)
    await call.send({ body: { kind: 'data', stream: 'stdin', data: new Uint8Array(0), eof: true, atMs: 0 } });
  call.end();
}

export async function listImages(context: CliContext): Promise<readonly NamedImage[]> {
  const { local } = await context.connect();
  const { images } = await local.listImages({}, { signal: context.signal });
  return images
    .flatMap(image => (image.names.length > 0 ? image.names : ['']).map(name => ({ name, image })))
    .sort((a, b) => compareNames(a.name, b.name));
}

const view: ListView<NamedImage> = {
  columns: [
    { header: 'IMAGE', cutTo: 20 },
    { header: 'DIGEST', cutTo: 19 },
    { header: 'PLATFORM' },
    { header: 'SIZE', align: 'right' },
    { header: 'TASKS', align: 'right' },
  ],
  row: ({ name, image }) => [
    name || '-',
    image.digest,
    `${image.os}/${image.architecture}`,
    renderBytes(image.sizeBytes),
    String(image.uses),
  ],
  record: imageRecord,
  id: ({ image }) => image.digest,
  name: ({ name, image }) => name || image.digest,
};

async function runList({ flags }: Invocation, context: CliContext): Promise<number> {
  await printList(context, flags, { view, items: await listImages(context) });
  return exitCodes.done;
}

async function runInspect({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const { local } = await context.connect();
  const items: { readonly record: JsonRecord; readonly name: string }[] = [];
  for (const name of args) {
    const { image, config, manifest } = await local.inspectImage({ image: name }, { signal: context.signal });
    const record = {
      ...imageRecord({ name: image.names[0] ?? '', image }),
      names: image.names,
      layers: image.layers,
      config: parseJson(config),
      manifest: parseJson(manifest),
    };
    items.push({ record, name: image.names[0] ?? image.digest });
  }
  await printInspection(context, flags, items);
  return exitCodes.done;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text; // shown as it is stored, so that a damaged one can be looked at
  }
}

async function runRemove({ args }: Invocation, context: CliContext): Promise<number> {
  const { local } = await context.connect();
  for (const image of args) {
    const answer = await local.removeImage({ image }, { signal: context.signal });
    for (const name of answer.untagged) await context.print(`untagged ${name}`);
    for (const digest of answer.deleted) await context.print(`deleted ${digest}`);
    if (answer.freedBytes > 0) await context.print(`freed ${renderBytes(answer.freedBytes)}`);
  }
  return exitCodes.done;
}
