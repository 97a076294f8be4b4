/**
 * keys.json on disk, and in memory what a person unlocked: the only part of a daemon that has the keys of its log.
 *
 * Keeps true: one change at a time, each a durable replacement of the whole file before anybody uses what it brings; the file
 * is read anew for each, so that a node that has left and joined again has nothing of the past. The unlock key itself is not
 * kept.
 *
 * Called by membership/ (the private key), group/ (the log), care.ts. Not here: what is in the file (key-file.ts).
 */
import { CoveyError, codeOf } from '../../errors.js';
import type { Clock, Files, Random } from '../../host.js';
import type { Keyring } from '../../raft/storage/keyring.js';
import {
  findKek,
  type KeyFile,
  newKeyFile,
  parseKeyFile,
  renderKeyFile,
  ringOf,
  sealText,
  type UnlockKey,
  unlockKek,
  unsealText,
  withLock,
  withNewKey,
  withoutUnused,
} from './key-file.js';
import { parseUnlockKey, unlockKeyId } from './unlock-key.js';

/** Which unlock key opens this node. */
export interface Lock {
  readonly keyId: string;
  readonly madeAtMs: number;
}

export interface KeyKeeper {
  /** What the file is locked with; undefined: with nothing. */
  readonly lock: () => Promise<Lock | undefined>;
  /** The same when nobody has unlocked it yet. */
  readonly findLocked: () => Promise<Lock | undefined>;
  /** Throws unlock-key-wrong, and nothing has changed. */
  readonly unlock: (text: string) => Promise<void>;
  /** For one opening of the log: all keys, and a current one that nothing was written under. Throws locked. */
  readonly mint: () => Promise<Keyring>;
  /** Another lock; the keys for the log that runs, with a current one that nothing was written under. */
  readonly relock: (unlock: UnlockKey | undefined) => Promise<Keyring>;
  /** Forgets the keys that nothing is written under. */
  readonly retire: (inUse: readonly number[]) => Promise<void>;
  readonly facts: () => Promise<KeyFacts>;
  /** The private key of the node as it should lie on disk; undefined: as it is. */
  readonly seal: (text: string) => Promise<Uint8Array | undefined>;
  /** Undefined while it is locked. */
  readonly unseal: (sealed: Uint8Array) => Promise<string | undefined>;
  /** The node keeps no log any more, or is none. */
  readonly forget: () => Promise<void>;
}

/** For care.ts. */
export interface KeyFacts {
  readonly epoch: number;
  readonly keyId: string | undefined;
  readonly keys: readonly { readonly id: number; readonly epoch: number; readonly madeAtMs: number }[];
}

export interface KeeperOptions {
  readonly files: Pick<Files, 'findText' | 'replace' | 'remove'>;
  readonly clock: Pick<Clock, 'wallMs'>;
  readonly random: Pick<Random, 'bytes'>;
  readonly dataDir: string;
}

export function openKeyKeeper(options: KeeperOptions): KeyKeeper {
  const { clock, random } = options;
  const disk = openDisk(options);
  const inTurn = takeTurns();
  const { find, save, kekOf } = disk;
  const open = async (): Promise<{ readonly file: KeyFile; readonly kek: Uint8Array }> => {
    const found = await find();
    const file = found ?? newKeyFile({ random: random.bytes });
    const kek = kekOf(file);
    if (kek !== undefined) return { file, kek };
    throw lockedError(lockOf(file), 'Cannot open the log of this manager');
  };
  const making = () => ({ random: random.bytes, nowMs: clock.wallMs() });
  return {
    lock: () => inTurn(async () => lockOf(await find())),
    findLocked: () =>
      inTurn(async () => {
        const file = await find();
        return file === undefined || kekOf(file) !== undefined ? undefined : lockOf(file);
      }),
    unlock: text => inTurn(async () => disk.keep(openWith(await find(), text))),
    mint: () =>
      inTurn(async () => {
        const { file, kek } = await open();
        const made = withNewKey(file, kek, making());
        return (await isSaved(save(made.file), file)) ? made.ring : ringOf(file, kek);
      }),
    relock: unlock =>
      inTurn(async () => {
        const { file, kek } = await open();
        const made = withLock(file, kek, { ...making(), unlock });
        await save(made.file);
        disk.keep(made.kek);
        return made.ring;
      }),
    retire: inUse =>
      inTurn(async () => {
        const file = await find();
        const next = file && withoutUnused(file, inUse);
        if (next !== undefined && next.keys.length !== file?.keys.length) await save(next);
      }),
    facts: () =>
      inTurn(async () => {
        const { file } = await open();
        return { epoch: file.epoch, keyId: lockOf(file)?.keyId, keys: file.keys };
      }),
    seal: text =>
      inTurn(async () => {
        const file = await find();
        if (file === undefined || file.lock.kind === 'open') return undefined;
        return sealText((await open()).kek, text, random.bytes);
      }),
    unseal: sealed =>
      inTurn(async () => {
        const file = await find();
        const kek = file && kekOf(file);
        return kek === undefined ? undefined : unsealText(kek, sealed);
      }),
    forget: () => inTurn(disk.forget),
  };
}

/**
 * False where the disk is full and there are keys already: a manager starts there too, with the last of them. Random bits keep
 * the nonces apart then (raft/storage/keyring.ts).
 */
async function isSaved(saving: Promise<void>, before: KeyFile): Promise<boolean> {
  try {
    await saving;
    return true;
  } catch (error) {
    if (codeOf(error) === 'no-space' && before.keys.length > 0) return false;
    throw error;
  }
}

/** The file, and the KEK that a person opened. */
function openDisk({ files, dataDir }: KeeperOptions) {
  const path = `${dataDir}/keys.json`;
  let unlocked: Uint8Array | undefined;
  return {
    find: async (): Promise<KeyFile | undefined> => {
      const text = await files.findText(path);
      return text === undefined ? undefined : parseKeyFile(text);
    },
    save: (file: KeyFile): Promise<void> => files.replace(path, renderKeyFile(file), { mode: 0o600 }),
    /** When it is at hand. */
    kekOf: (file: KeyFile): Uint8Array | undefined => findKek(file) ?? openedBy(file, unlocked),
    keep: (kek: Uint8Array | undefined): void => {
      unlocked = kek ?? unlocked;
    },
    forget: async (): Promise<void> => {
      unlocked = undefined;
      await files.remove(path);
    },
  };
}

function takeTurns(): <Result>(work: () => Promise<Result>) => Promise<Result> {
  let last: Promise<unknown> = Promise.resolve();
  return work => {
    const result = last.then(work);
    last = result.catch(() => undefined); // it is told to whoever asked for it
    return result;
  };
}

/** The KEK of a locked file; undefined: there is none to open. */
function openWith(file: KeyFile | undefined, text: string): Uint8Array | undefined {
  if (file === undefined || file.lock.kind === 'open') return undefined;
  const key = parseUnlockKey(text);
  const kek = unlockKek(file, key);
  if (kek === undefined) throw wrongKey(file.lock, key);
  ringOf(file, kek);
  return kek;
}

/** What every command is answered with while nobody has unlocked the manager. */
export function lockedError(lock: Lock | undefined, what = 'Cannot answer: this manager is locked'): CoveyError {
  const which = lock === undefined ? 'an unlock key' : describe(lock);
  return new CoveyError('locked', what, {
    state: `its state is encrypted with ${which}; its containers run on`,
    hint: 'covey unlock',
  });
}

function lockOf(file: KeyFile | undefined): Lock | undefined {
  if (file === undefined || file.lock.kind === 'open') return undefined;
  const { keyId, madeAtMs } = file.lock;
  return { keyId, madeAtMs };
}

/** The KEK in memory, if it is that of the file. */
function openedBy(file: KeyFile, kek: Uint8Array | undefined): Uint8Array | undefined {
  if (kek === undefined) return undefined;
  try {
    ringOf(file, kek);
    return kek;
  } catch {
    return undefined; // of a file that was there before
  }
}

function wrongKey(lock: Lock, key: Uint8Array): CoveyError {
  return new CoveyError('unlock-key-wrong', 'Cannot unlock this manager: that is not its key', {
    state: `it was locked with ${describe(lock)}; the key given has the id ${unlockKeyId(key)}`,
    hint: 'a manager that was away when the key was changed opens with the one before: covey unlock-key, on another manager, shows both',
  });
}

function describe({ keyId, madeAtMs }: Lock): string {
  const made = new Date(madeAtMs).toISOString().slice(0, 16).replace('T', ' ');
  return `the unlock key with the id ${keyId}, made ${made} UTC`;
}
