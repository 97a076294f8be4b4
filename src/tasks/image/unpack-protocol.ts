/**
 * What the daemon and its unpacking child say to each other, as lines of JSON: one request on descriptor 3, the bytes of the
 * archive on standard input (unless a path is named), and messages back on standard output.
 *
 *     daemon                               child
 *     request ───────── fd 3 ────────────► reads the archive, unpacks into `work`
 *     bytes ─────────── stdin ───────────►
 *             ◄──────── stdout ─────────── progress …
 *             ◄──────── stdout ─────────── result | failure, then exit
 *     end of fd 3: the daemon is gone ───► exit at once
 *
 * Not here: either end (import.ts, unpack-child.ts).
 */
import type { Problem } from '../../gen/types.js';
import type { Clock, Random } from '../../host.js';
import type { LayerRoot } from './layer-filter.js';
import type { Endpoint, PatienceLimits, ProxyEnvironment, TlsChoice } from './registry/index.js';

/** A line on descriptor 3. */
export type ChildRequest = UnpackRequest | PullRequest | CheckRequest;

export interface UnpackRequest {
  readonly kind: 'import';
  /** The only folder that the child writes to; made by the daemon, and removed by it. */
  readonly work: string;
  /** Layers of the store, and which of them are whole: those are checked, but not unpacked again. */
  readonly layers: string;
  readonly hasLayers: readonly string[];
  /** Empty: the archive comes on standard input. */
  readonly path: string;
  /** For messages. */
  readonly source: string;
  /** Empty: the names in the archive. */
  readonly name: string;
  readonly changes: readonly string[];
  /** Empty: that of this machine. */
  readonly platform: string;
}

export interface PullRequest {
  readonly kind: 'pull';
  readonly work: string;
  readonly layers: string;
  readonly blobs: string;
  /** Beginnings of blobs, by their hexadecimal digits, from pulls that did not end. */
  readonly partial: string;
  /** The full name, with tag or digest. */
  readonly reference: string;
  readonly platform: string;
  readonly endpoints: readonly PullEndpoint[];
  /** Layers of the store that are whole, and blobs that are there. */
  readonly hasLayers: readonly string[];
  readonly hasBlobs: readonly string[];
  /** Digests that the name may have without any need to pull: those of images that are here. */
  readonly current: readonly string[];
  readonly proxy: ProxyEnvironment;
  readonly limits: PatienceLimits;
}

export interface CheckRequest {
  readonly kind: 'check';
  readonly work: string;
  /** Of the whole store. */
  readonly directory: string;
  readonly blobs: readonly string[];
  /** Layers with the blobs that they were unpacked from. */
  readonly layers: readonly { readonly diffId: string; readonly blob: string }[];
}

/** With the certificates themselves. */
export interface PullEndpoint {
  readonly endpoint: Endpoint;
  readonly tls: TlsChoice;
}

/** One layer of a pull, for people. */
export interface LayerProgress {
  readonly digest: string;
  readonly step: 'waiting' | 'pulling' | 'done' | 'here';
  readonly bytes: number;
  readonly totalBytes: number;
}

export type UnpackMessage =
  | { readonly kind: 'progress'; readonly step: 'reading' | 'unpacking' | 'storing'; readonly bytes: number }
  | {
      readonly kind: 'result';
      readonly images: readonly UnpackedImage[];
      readonly blobs: readonly string[];
      readonly layers: readonly string[];
    }
  /** Of a pull: `note` is set while it waits to ask again. */
  | { readonly kind: 'pulling'; readonly layers: readonly LayerProgress[]; readonly note: string }
  /** What the name means is here already. */
  | { readonly kind: 'current'; readonly digest: string }
  /** A blob or layer was looked at; why it is damaged, or nothing. */
  | {
      readonly kind: 'checked';
      readonly of: 'blob' | 'layer';
      readonly part: string;
      readonly why: string;
      readonly checked: number;
      readonly total: number;
    }
  | { readonly kind: 'check-done' }
  | { readonly kind: 'failure'; readonly problem: Problem };

/** What the child asks of the kernel; host-linux/jail.ts has it. */
export interface UnpackKernel {
  /** From here on only `writable` can be written, and only what lies at `readable` is sure to be there. */
  readonly enterJail: (writable: string, readable: readonly string[], options?: { readonly network: boolean }) => void;
  readonly setAttribute: (path: Uint8Array, name: string, value: string) => void;
  readonly syncFileSystem: (path: string) => void;
  /** Descriptors of a pipe that holds so many bytes where the system allows it, and is no child's unless given to it. */
  readonly makePipe: (bytes: number) => { readonly read: number; readonly write: number };
  readonly clock: Clock;
  readonly random: Random;
}

export interface UnpackedImage {
  /** Full names. */
  readonly names: readonly string[];
  /** Of the manifest. */
  readonly digest: string;
  readonly config: string;
  readonly diffIds: readonly string[];
  /** Blobs of the layers, in their order. */
  readonly layerBlobs: readonly string[];
  /** "registry/repository@sha256:…" under which a registry gave it; empty when it was imported. */
  readonly origins: readonly string[];
}

/** `layer.json` beside the tree of an unpacked layer. */
export interface LayerRecord {
  readonly diffId: string;
  readonly entries: number;
  /** Of the data of its files. */
  readonly bytes: number;
  /** Of its root directory, when the layer speaks of it. */
  readonly root?: LayerRoot | undefined;
  /** It hides everything below. */
  readonly isOpaque: boolean;
}

export function hexOf(digest: string): string {
  return digest.slice(digest.indexOf(':') + 1);
}
