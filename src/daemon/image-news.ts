/**
 * The managers hear of an image that a task had pulled, as they do of one that a person pulled: who places tasks near their
 * images, and `node inspect`, go by what a node told.
 *
 * Called by member-node.ts. Not here: pulling (tasks/image/pull.ts), what a person changes (local-images.ts).
 */
import type { TaskImages } from '../tasks/images.js';
import type { Logger } from '../telemetry.js';

/** The same images; `changed` follows each `ensure` that brought another image under the name. The task never waits for it. */
export function withImageNews(
  images: TaskImages,
  { changed, log }: { readonly changed: () => Promise<void>; readonly log: Pick<Logger, 'warn'> },
): TaskImages {
  return {
    ...images,
    ensure: async (wanted, signal) => {
      const before = images.find(wanted.image)?.digest;
      const image = await images.ensure(wanted, signal);
      if (image.digest !== before)
        void changed().catch(error => log.warn('cannot tell the managers of an image', { image: wanted.image, error }));
      return image;
    },
  };
}
