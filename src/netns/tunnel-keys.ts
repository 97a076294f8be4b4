/**
 * The private keys of this node's encrypted tunnels: one for each epoch that counts, made here, kept in a file of the data
 * directory (mode 0600) so that a boot without managers finds those that others know, and forgotten with their epoch.
 *
 * Keeps true: a key is on disk before its public half is told.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import type { Files } from '../host.js';

export interface TunnelKeyPair {
  readonly epoch: number;
  /** Base64, as `wg` takes it. */
  readonly privateKey: string;
  readonly publicKey: string;
}

export interface TunnelKeys {
  /** Those of these epochs and no others. */
  readonly take: (epochs: readonly number[]) => Promise<readonly TunnelKeyPair[]>;
  readonly remove: () => Promise<void>;
}

export function openTunnelKeys(files: Files, directory: string): TunnelKeys {
  const path = `${directory}/tunnel-keys.json`;
  let known: readonly TunnelKeyPair[] | undefined;
  const load = async (): Promise<readonly TunnelKeyPair[]> => parseKeys((await files.findText(path)) ?? '');
  return {
    take: async epochs => {
      const before = known ?? (await load());
      const now = epochs.map(epoch => before.find(one => one.epoch === epoch) ?? makeKey(epoch));
      if (now.length !== before.length || now.some(one => !before.includes(one))) {
        await files.makeDirectory(directory);
        const content = now.map(({ epoch, privateKey }) => ({ epoch, privateKey }));
        await files.replace(path, JSON.stringify(content), { mode: 0o600 });
      }
      known = now;
      return now;
    },
    remove: async () => {
      known = undefined;
      await files.remove(path);
    },
  };
}

/** PKCS#8 of an X25519 key is this and its 32 bytes (RFC 8410). */
const pkcs8Head = Buffer.from('302e020100300506032b656e04220420', 'hex');

function makeKey(epoch: number): TunnelKeyPair {
  return pairOf(epoch, generateKeyPairSync('x25519').privateKey);
}

function pairOf(epoch: number, key: KeyObject): TunnelKeyPair {
  const bytes = key.export({ format: 'der', type: 'pkcs8' }).subarray(pkcs8Head.length);
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' });
  return { epoch, privateKey: bytes.toString('base64'), publicKey: spki.subarray(-32).toString('base64') };
}

/** Nothing of a file that is no such list: then the keys are made anew, and told. */
export function parseKeys(text: string): readonly TunnelKeyPair[] {
  try {
    const list: unknown = JSON.parse(text);
    if (!Array.isArray(list)) return [];
    return list.map(({ epoch, privateKey }) => {
      const der = Buffer.concat([pkcs8Head, Buffer.from(String(privateKey), 'base64')]);
      return pairOf(Number(epoch), createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }));
    });
  } catch {
    // Not there yet, or cut short by other hands.
    return [];
  }
}
