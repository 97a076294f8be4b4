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
import type { LayerRoot } from './layer-filter.js';

export interface UnpackRequest {
  /** The only folder that the child writes to; made by the daemon, and removed by it. */
  readonly work: string;
  /** Layers of the store: what is there is checked, but not unpacked again. */
  readonly layers: string;
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

export type UnpackMessage =
  | { readonly kind: 'progress'; readonly step: 'reading' | 'unpacking' | 'storing'; readonly bytes: number }
  | {
      readonly kind: 'result';
      readonly images: readonly UnpackedImage[];
      readonly blobs: readonly string[];
      readonly layers: readonly string[];
    }
  | { readonly kind: 'failure'; readonly problem: Problem };

/** What the child asks of the kernel; host-linux/jail.ts has it. */
export interface UnpackKernel {
  /** From here on only `writable` can be written, and only what lies at `readable` is sure to be there. */
  readonly enterJail: (writable: string, readable: readonly string[]) => void;
  readonly setAttribute: (path: Uint8Array, name: string, value: string) => void;
  readonly syncFileSystem: (path: string) => void;
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
