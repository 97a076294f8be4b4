/**
 * The image calls of the Local service (control.proto) on top of the store.
 *
 * Not here: who may call (daemon/rpc), the work (store.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Services } from '../../gen/services.js';
import type { ImportImageRequest, ImportImageStart } from '../../gen/types.js';
import type { Handlers } from '../../grpc.js';
import type { ImageStore } from './store-types.js';

type ImageCalls = Pick<Handlers<Services['Local']>, 'importImage' | 'listImages' | 'inspectImage' | 'removeImage'>;

export function makeImageCalls(store: ImageStore): ImageCalls {
  return {
    importImage: async function* (requests, { signal }) {
      const messages = requests[Symbol.asyncIterator]();
      yield* store.importImage(await takeStart(messages), bytesOf(messages), signal);
    },
    listImages: async () => ({ images: store.list() }),
    inspectImage: async ({ image }) => await store.inspect(image),
    removeImage: async ({ image }) => await store.remove(image),
  };
}

async function takeStart(messages: AsyncIterator<ImportImageRequest>): Promise<ImportImageStart> {
  const first = await messages.next();
  if (first.done === true || first.value.body.kind !== 'start') {
    throw new CoveyError('bad-argument', 'Cannot import an image: the first message has to name it');
  }
  return first.value.body;
}

async function* bytesOf(messages: AsyncIterator<ImportImageRequest>): AsyncGenerator<Uint8Array> {
  for (let next = await messages.next(); next.done !== true; next = await messages.next()) {
    if (next.value.body.kind !== 'data')
      throw new CoveyError('bad-argument', 'Cannot import an image: only its bytes may follow');
    yield next.value.body.data;
  }
}
