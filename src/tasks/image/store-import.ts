/**
 * Imports of archives: one child process each, and its result into the store.
 *
 * Not here: the child (child.ts, unpack-child.ts), moving into place (store-commit.ts), pulls (pull.ts).
 */
import { Buffer } from 'node:buffer';
import { join } from 'node:path';
import { CoveyError } from '../../errors.js';
import type { Image, ImportImageProgress, ImportImageStart } from '../../gen/types.js';
import { runChild } from './child.js';
import { type ChildResult, commit, sweep } from './store-commit.js';
import { describe, inTurn, type StoreState } from './store-state.js';
import type { UnpackRequest } from './unpack-protocol.js';

/** Imports and pulls at once; each is a process. */
const workingMax = 8;

export async function* importImage(
  state: StoreState,
  start: ImportImageStart,
  from: { readonly data: AsyncIterable<Uint8Array>; readonly signal: AbortSignal },
): AsyncGenerator<ImportImageProgress> {
  if (state.working >= workingMax) {
    throw new CoveyError('too-many', `Cannot import now: ${workingMax} imports and pulls are under way`, {
      hint: 'repeat when one of them has ended',
    });
  }
  await using work = await openWork(state);
  const request = requestOf(state, start, work.path);
  await using child = runChild({
    processes: state.host.processes,
    command: state.unpackCommand,
    request,
    data: request.path === '' ? from.data : undefined,
    signal: from.signal,
  });
  let result = await child.next();
  for (; result.done !== true; result = await child.next()) {
    const { value } = result;
    if (value.kind === 'progress') yield { step: value.step, bytes: value.bytes, images: [] };
  }
  const images = await store(state, result.value, work.path);
  state.log.info('image imported', { source: request.source, images: images.map(image => image.digest) });
  yield { step: 'done', bytes: images.reduce((sum, image) => sum + image.sizeBytes, 0), images };
}

async function store(
  state: StoreState,
  result: ChildResult | { readonly kind: string },
  work: string,
): Promise<readonly Image[]> {
  if (!('images' in result)) throw new CoveyError('bug', 'Cannot store the image: the child made none');
  await inTurn(state, () => commit(state, result, work));
  return result.images.flatMap(({ digest }) => {
    const image = state.images.get(digest);
    return image === undefined ? [] : [describe(state, image)];
  });
}

/** A folder for a child; while there is one, nothing is swept. */
export async function openWork(state: StoreState): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = join(state.directory, 'tmp', Buffer.from(state.host.random.bytes(8)).toString('hex'));
  state.working += 1;
  const end = async (): Promise<void> => {
    state.working -= 1;
    await state.host.files.removeTree(path);
    if (state.isSweepDue) await inTurn(state, () => sweep(state));
  };
  try {
    await state.host.files.makeDirectory(path, { mode: 0o700 });
  } catch (error) {
    await end();
    throw error;
  }
  return { path, [Symbol.asyncDispose]: end };
}

function requestOf(state: StoreState, start: ImportImageStart, work: string): UnpackRequest {
  return {
    kind: 'import',
    work,
    layers: join(state.directory, 'layers'),
    hasLayers: [...state.layers.keys()],
    path: start.path,
    source: start.source,
    name: start.name,
    changes: start.changes,
    platform: start.platform,
  };
}
