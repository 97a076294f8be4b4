/**
 * Paths within a layer: the one form in which they are compared and written, and the names that cannot be such paths.
 * Texts are "latin1", one character a byte. "" is the root of the layer.
 *
 * Not here: what an entry at the path may be (layer-filter.ts).
 */
import { Buffer } from 'node:buffer';
import { CoveyError } from '../../errors.js';

const pathMaxBytes = 4_095;
const nameMaxBytes = 255;

/**
 * "./a//b/" -> "a/b". A leading "/" means the root of the layer, as with Docker. Throws image-layer for ".." and for what
 * the kernel would not take.
 */
export function cleanPath(written: string): string {
  const parts = written.split('/').filter(part => part !== '' && part !== '.');
  if (written === '') throw hostile(written, 'has no name');
  if (parts.includes('..')) throw hostile(written, 'leads out of the layer with ".."');
  if (parts.some(part => part.length > nameMaxBytes))
    throw hostile(written, `has a name longer than ${nameMaxBytes} bytes`);
  const path = parts.join('/');
  if (path.length > pathMaxBytes) throw hostile(written, `is longer than ${pathMaxBytes} bytes`);
  return path;
}

/** "a/b/c" -> "a/b"; of a name in the root: "". */
export function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')));
}

export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

export function joined(parent: string, name: string): string {
  return parent === '' ? name : `${parent}/${name}`;
}

/** The error about an entry; `why` goes on from its quoted path. */
export function hostile(path: string, why: string): CoveyError {
  return new CoveyError('image-layer', `Cannot unpack "${readable(path)}": it ${why}`);
}

/** Bytes as text for people: as UTF-8, without what would disturb a terminal, at most 200 characters. */
function readable(path: string): string {
  const text = Buffer.from(path, 'latin1').toString('utf8').replace(/\p{C}/gu, '?');
  return text.length <= 200 ? text : `${text.slice(0, 120)}…${text.slice(-60)}`;
}
