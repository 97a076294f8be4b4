/**
 * Which names `covey cp` means, as Docker has it: pure rules over paths and what is there.
 *
 * Not here: looking, and copying (commands/copy.ts).
 */
import { CoveyError } from '../errors.js';

export interface TaskPath {
  readonly task: string;
  readonly path: string;
}

/** "web.1:/etc/hosts"; a path that begins with "/" or "." is of this machine, colons or not. */
export function splitCopyPath(text: string): { readonly task: string | undefined; readonly path: string } {
  const colon = text.indexOf(':');
  if (text === '' || text.startsWith('/') || text.startsWith('.') || colon <= 0) return { task: undefined, path: text };
  const path = text.slice(colon + 1);
  return { task: text.slice(0, colon), path: path.startsWith('/') ? path : `/${path}` };
}

interface Source {
  readonly path: string;
  readonly directory: boolean;
}

interface Destination {
  /** Absolute. */
  readonly path: string;
  readonly exists: boolean;
  readonly directory: boolean;
}

export interface CopyTarget {
  /** Exists, or its absence is the error. */
  readonly directory: string;
  /** How the source is called in there; empty: what is in the source goes right into the directory. */
  readonly name: string;
  /** How the source is called in its archive. */
  readonly source: string;
}

export function planCopyTarget(source: Source, destination: Destination): CopyTarget {
  const isContents = /(?:^|\/)\.$/.test(source.path) || /^\/+$/.test(source.path);
  const base = isContents ? '.' : lastPart(source.path);
  const plain = destination.path.replace(/(.)\/+$/, '$1');
  if (destination.directory) {
    return { directory: plain, name: isContents ? '' : base, source: base };
  }
  const wantsDirectory = /\/\.?$/.test(destination.path);
  if (destination.exists) {
    if (source.directory) throw refused(destination.path, 'a file is there, and the source is a directory');
    if (wantsDirectory) throw refused(destination.path, 'it is no directory');
  } else if (wantsDirectory && !source.directory) throw refused(destination.path, 'there is no such directory');
  const last = lastPart(plain);
  return {
    directory: plain.slice(0, plain.length - last.length).replace(/(.)\/+$/, '$1') || '/',
    name: last,
    source: base,
  };
}

function refused(path: string, why: string): CoveyError {
  return new CoveyError('bad-argument', `Cannot copy to "${path}": ${why}`);
}

function lastPart(path: string): string {
  return path.replace(/\/+$/, '').split('/').at(-1) ?? '';
}
