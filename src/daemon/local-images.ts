/**
 * The part of the Local service about registries and the care of images.
 *
 * Not here: imports and lists (local.ts), the work itself (tasks/image).
 */
import type { Services } from '../gen/services.js';
import type { Handlers } from '../grpc.js';
import type { ImageStore } from '../tasks/image/index.js';

type ImageCalls = Pick<
  Handlers<Services['Local']>,
  | 'pullImage'
  | 'tagImage'
  | 'pruneImages'
  | 'exportImages'
  | 'checkImages'
  | 'loginRegistry'
  | 'logoutRegistry'
  | 'pickCredentials'
>;

export function imageHandlers(parts: {
  readonly images: ImageStore;
  readonly imagesChanged: () => Promise<void>;
}): ImageCalls {
  const { images, imagesChanged } = parts;
  return {
    pullImage: async function* (request, { signal }) {
      yield* images.pullImage(request, signal);
      await imagesChanged();
    },
    tagImage: async request => {
      await images.tag(request.image, request.name);
      await imagesChanged();
      return {};
    },
    pruneImages: async request => {
      const removed = await images.prune(request);
      await imagesChanged();
      return removed;
    },
    exportImages: async function* (request, { signal }) {
      for await (const data of images.exportImages(request.images, signal)) yield { data };
    },
    checkImages: (request, { signal }) => images.check(request, signal),
    loginRegistry: async (request, { signal }) => {
      await images.login(request, signal);
      return {};
    },
    pickCredentials: request => images.pickCredentials(request),
    logoutRegistry: async ({ registry }) => ({ removed: await images.logout(registry) }),
  };
}
