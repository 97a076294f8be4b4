/**
 * The image store as the rest of the daemon sees it: what can be asked of it, and what it needs of its surroundings.
 *
 * Not here: how it is kept on disk (store.ts), what a task sees of it (../images.ts).
 */
import type {
  CheckImagesResponse,
  Image,
  ImportImageProgress,
  ImportImageStart,
  InspectImageResponse,
  PickCredentialsRequest,
  PickCredentialsResponse,
  PruneImagesRequest,
  PruneImagesResponse,
  PullImageProgress,
  PullImageRequest,
  RemoveImageResponse,
} from '../../gen/types.js';
import type { Host } from '../../host.js';
import type { Logger } from '../../telemetry.js';
import type { TaskImages } from '../images.js';
import type { PatienceLimits } from './registry/index.js';

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
  /** Without: every registry is asked as it is, and no credential is kept. */
  readonly registries?: RegistrySettings | undefined;
}

/** How this node speaks to registries. The files are read at each pull: changing them needs no restart. */
export interface RegistrySettings {
  /** registries.yaml: mirrors, certificates; there may be none. */
  readonly rulesPath: string;
  /** Credentials in the form of Docker's config.json; there may be none. */
  readonly credentialsPath: string;
  /** HTTP_PROXY and the like. */
  readonly proxy: Readonly<Record<string, string>>;
  /** Instead of the standard patience: for tests. */
  readonly patience?: Partial<PatienceLimits>;
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
  /**
   * Pulls the image if it is missing, or always; several callers share one pull. The last progress carries the image.
   */
  pullImage(request: PullImageRequest, signal: AbortSignal): AsyncIterable<PullImageProgress>;
  /** Verifies a credential and keeps it; without a password: forgets the one that is kept. */
  login(login: RegistryLogin, signal: AbortSignal): Promise<void>;
  logout(registry: string): Promise<boolean>;
  /** The credentials for the registries of these images: those of the file of a person, then those of this node. */
  pickCredentials(request: PickCredentialsRequest): Promise<PickCredentialsResponse>;
  prune(request: PruneImagesRequest): Promise<PruneImagesResponse>;
  /** When the disk is fuller than this: removes unused images that can be pulled again, longest unused first. */
  makeRoom(highPercent: number): Promise<void>;
  tag(reference: string, name: string): Promise<void>;
  /** An archive of images: an OCI layout and a docker-archive in one. */
  exportImages(references: readonly string[], signal: AbortSignal): AsyncIterable<Uint8Array>;
  /** Reads everything and tells what is damaged; mends it from blobs that are whole, and from registries. */
  check(request: { readonly repair: boolean }, signal: AbortSignal): AsyncIterable<CheckImagesResponse>;
  list(): readonly Image[];
  inspect(reference: string): Promise<InspectImageResponse>;
  /** A name: takes it away, and the image too when it was the last. An id: takes all. Refused with image-in-use. */
  remove(reference: string): Promise<RemoveImageResponse>;
  /** Removes blobs and layers that no image names; at start by itself. Returns the bytes that became free. */
  sweep(): Promise<{ readonly freedBytes: number }>;
}

export interface RegistryLogin {
  readonly registry: string;
  readonly username: string;
  readonly password: string;
}
