/**
 * An image store below /tmp for real tests, with the unpacking child running from the compiled sources.
 */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Image, ImportImageStart } from '../../../src/gen/types.js';
import { linuxHost } from '../../../src/host-linux/index.js';
import { type ImageStore, openImageStore, type RegistrySettings } from '../../../src/tasks/image/index.js';
import type { Logger } from '../../../src/telemetry.js';

export const isRoot = process.getuid?.() === 0;

export const silentLog: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  with: () => silentLog,
};

/** Argv of a process that does what `coveyd --unpack-image` does. */
export const unpackCommand: readonly string[] = [
  process.execPath,
  '--input-type=module',
  '--eval',
  `import { runUnpackChild } from ${JSON.stringify(new URL('../../../src/tasks/image/index.js', import.meta.url))};
   import { linuxJail } from ${JSON.stringify(new URL('../../../src/host-linux/jail.js', import.meta.url))};
   await runUnpackChild(linuxJail);`,
];

export interface TestStore extends AsyncDisposable {
  readonly store: ImageStore;
  readonly directory: string;
  /** For other files of the test; gone with the rest. */
  readonly scratch: string;
  /** The store as the next daemon would find it. */
  readonly reopen: () => Promise<ImageStore>;
}

export interface TestStoreOptions {
  readonly parent?: string;
  /** Text of registries.yaml. */
  readonly rules?: string;
  readonly patience?: RegistrySettings['patience'];
  readonly proxy?: Readonly<Record<string, string>>;
}

export async function openTestStore(options: TestStoreOptions = {}): Promise<TestStore> {
  const scratch = fs.mkdtempSync(join(options.parent ?? tmpdir(), 'covey-image-test-'));
  const directory = join(scratch, 'images');
  const reopen = (): Promise<ImageStore> =>
    openImageStore({
      directory,
      host: linuxHost,
      log: silentLog,
      unpackCommand,
      registries: {
        rulesPath: join(scratch, 'registries.yaml'),
        credentialsPath: join(scratch, 'auth.json'),
        proxy: options.proxy ?? {},
        ...(options.patience === undefined ? {} : { patience: options.patience }),
      },
    });
  if (options.rules !== undefined) fs.writeFileSync(join(scratch, 'registries.yaml'), options.rules);
  return {
    store: await reopen(),
    directory,
    scratch,
    reopen,
    [Symbol.asyncDispose]: async () => fs.rmSync(scratch, { recursive: true, force: true }),
  };
}

export const plainStart: ImportImageStart = { name: '', changes: [], source: 'test.tar', platform: '', path: '' };

export async function* bytesOf(archive: Buffer, pieceBytes = 65_536): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < archive.length; at += pieceBytes) yield archive.subarray(at, at + pieceBytes);
}

export interface ImportOptions extends Partial<ImportImageStart> {
  readonly signal?: AbortSignal;
}

/** Imports and returns the images of the last progress. */
export async function importInto(
  store: ImageStore,
  archive: Buffer | AsyncIterable<Uint8Array>,
  options: ImportOptions = {},
): Promise<readonly Image[]> {
  const { signal = AbortSignal.timeout(60_000), ...start } = options;
  let images: readonly Image[] = [];
  const data = Buffer.isBuffer(archive) ? bytesOf(archive) : archive;
  for await (const progress of store.importImage({ ...plainStart, ...start }, data, signal)) images = progress.images;
  return images;
}

/** What lies in the store, by relative path, to compare before and after. */
export function contents(directory: string): readonly string[] {
  return fs
    .readdirSync(directory, { recursive: true })
    .map(String)
    .filter(path => !path.startsWith('layers/') || path.split('/').length <= 3)
    .sort();
}
