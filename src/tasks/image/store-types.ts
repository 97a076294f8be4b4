/**
 * The image store as the rest of the daemon sees it: what can be asked of it, and what it needs of its surroundings.
 *
 * Not here: how it is kept on disk (store.ts), what a task sees of it (../images.ts).
 */
import type {
  Image,
  ImportImageProgress,
  ImportImageStart,
  InspectImageResponse,
  RemoveImageResponse,
} from '../../gen/types.js';
import type { Host } from '../../host.js';
import type { Logger } from '../../telemetry.js';
import type { TaskImages } from '../images.js';

export interface ImageStoreOptions {
  /** `<data dir>/images`. */
  readonly directory: string;
  readonly host: Pick<Host, 'clock' | 'random' | 'files' | 'processes' | 'kernel'>;
  readonly log: Logger;
  /** Argv of a process of our own that calls `runUnpackChild`: imports run in it, one process each. */
  readonly unpackCommand: readonly string[];
  /**
   * Paths in every root file system over which each container gets a file of its own. They lie, empty, below all layers:
   * otherwise the runtime makes them in each container's own layer, a copy of /etc and four files made and removed each time.
   */
  readonly emptyFiles?: readonly string[] | undefined;
}

export interface ImageStore extends TaskImages {
  /**
   * Reads an archive (from `data`, or from `start.path`) into the store. Nothing is stored unless everything was read and
   * every digest was right. The last progress carries the images.
   */
  importImage(
    start: ImportImageStart,
    data: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): AsyncIterable<ImportImageProgress>;
  list(): readonly Image[];
  inspect(reference: string): Promise<InspectImageResponse>;
  /** A name: takes it away, and the image too when it was the last. An id: takes all. Refused with image-in-use. */
  remove(reference: string): Promise<RemoveImageResponse>;
  /** Removes blobs and layers that no image names; at start by itself. Returns the bytes that became free. */
  sweep(): Promise<{ readonly freedBytes: number }>;
}
