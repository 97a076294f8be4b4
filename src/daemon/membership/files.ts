/**
 * What a node keeps about its membership, under the data directory:
 *
 *     node.json        the commit point: a member from the moment it is there
 *     tls/node.pem     certificate and key in one file, so that a renewal replaces both or neither; certificates between it and a
 *                      root come behind it
 *     tls/root.pem     the root that is trusted; two while it is being replaced
 *     keys.json        keys of a manager's log (daemon/keys); while it is locked, what sealed the private key in node.pem
 *     tls/join.json    an attempt under way: request id and key, so that asking again gives the same node
 *
 * All of them 0600 and written durably (temporary, fsync, rename, fsync of the folder). Any line may be the last one: a
 * start without node.json is no member, and the next init or join clears what an attempt left behind.
 *
 * Not here: the flows (init.ts, join.ts, leave.ts).
 */
import { asCoveyError, CoveyError } from '../../errors.js';
import type { Files } from '../../host.js';
import { asId, isId } from '../../ids.js';
import { version } from '../../version.js';
import type { NodeIdentity } from '../ca/identity.js';
import { findPems, identityOf, lockedIdentityOf, toDer, toPem } from '../ca/pem.js';
import type { KeyKeeper } from '../keys/index.js';
import type { Member, Membership } from './types.js';

export interface MembershipFiles {
  readonly files: Files;
  readonly dataDir: string;
  readonly keys: KeyKeeper;
}

/** An attempt to join: repeated with the same values it gives the same node. */
export interface JoinAttempt {
  readonly requestId: string;
  /** PKCS#8, DER. */
  readonly key: Uint8Array;
  /** Digest of the root that it was made for, hexadecimal. */
  readonly rootDigest: string;
}

const privateMode = { mode: 0o600 };
const schemaVersion = 1;

const paths = {
  member: (dataDir: string): string => `${dataDir}/node.json`,
  folder: (dataDir: string): string => `${dataDir}/tls`,
  identity: (dataDir: string): string => `${dataDir}/tls/node.pem`,
  root: (dataDir: string): string => `${dataDir}/tls/root.pem`,
  attempt: (dataDir: string): string => `${dataDir}/tls/join.json`,
  init: (dataDir: string): string => `${dataDir}/tls/init.json`,
};

/** What this node is; undefined when it is no member. Throws state-damaged when the files contradict one another. */
export async function findMember({ files, dataDir, keys }: MembershipFiles): Promise<Member | undefined> {
  const text = await files.findText(paths.member(dataDir));
  if (text === undefined) return undefined;
  const membership = parseMembership(text, paths.member(dataDir));
  const pem = await files.findText(paths.identity(dataDir));
  const root = await files.findText(paths.root(dataDir));
  const certificate = findPems(pem ?? '', 'CERTIFICATE').join('');
  if (certificate === '' || root === undefined) throw damaged(paths.folder(dataDir), 'certificate or root is missing');
  const lock = membership.role === 'manager' ? await keys.findLocked() : undefined;
  const identity =
    lock === undefined
      ? identityOf({ certificate, key: await openKey(keys, pem ?? '', paths.identity(dataDir)), root })
      : lockedIdentityOf({ certificate, root });
  if (identity.nodeId !== membership.nodeId || identity.clusterId !== membership.clusterId) {
    throw damaged(paths.identity(dataDir), 'it is the certificate of another node than node.json names');
  }
  return lock === undefined ? { membership, identity } : { membership, identity, lock };
}

/** The private key in node.pem. */
async function openKey(keys: KeyKeeper, pem: string, path: string): Promise<string> {
  const [clear] = findPems(pem, 'PRIVATE KEY');
  if (clear !== undefined) return clear;
  const [sealed] = findPems(pem, 'COVEY SEALED KEY');
  if (sealed === undefined) throw damaged(path, 'it holds no private key');
  const key = await keys.unseal(toDer(sealed));
  if (key === undefined) throw damaged(path, 'its private key is sealed, and keys.json does not open it');
  return key;
}

/** Whatever line is the last one: the certificate on disk is signed by a root on disk. */
export async function saveIdentity(place: MembershipFiles, identity: NodeIdentity): Promise<void> {
  const { files, dataDir, keys } = place;
  const sealed = identity.role === 'manager' ? await keys.seal(identity.key) : undefined;
  await files.makeDirectory(paths.folder(dataDir), { mode: 0o700 });
  const before = findPems((await files.findText(paths.root(dataDir))) ?? '', 'CERTIFICATE');
  const all = [...new Set([...findPems(identity.root, 'CERTIFICATE'), ...before])].join('');
  if (all !== before.join('')) await files.replace(paths.root(dataDir), all, privateMode);
  const key = sealed === undefined ? identity.key : toPem(sealed, 'COVEY SEALED KEY');
  await files.replace(paths.identity(dataDir), `${identity.certificate}${key}`, privateMode);
  if (all !== identity.root) await files.replace(paths.root(dataDir), identity.root, privateMode);
}

/**
 * The private key lies as the lock of this manager wants it: written anew when it does not. A renewal may write another one at
 * the same time: the last word has the one that counts then.
 */
export async function alignIdentity(place: MembershipFiles, current: () => NodeIdentity): Promise<void> {
  for (;;) {
    const identity = current();
    const pem = (await place.files.findText(paths.identity(place.dataDir))) ?? '';
    const isSealed = findPems(pem, 'PRIVATE KEY').length === 0;
    const isWanted = identity.role === 'manager' && (await place.keys.lock()) !== undefined;
    if (isSealed !== isWanted) await saveIdentity(place, identity);
    if (current() === identity) return;
  }
}

/** From here on this node is a member. */
export async function saveMembership(
  { files, dataDir }: Omit<MembershipFiles, 'keys'>,
  membership: Membership,
): Promise<void> {
  const text = `${JSON.stringify({ schemaVersion, ...membership }, undefined, 2)}\n`;
  await files.replace(paths.member(dataDir), text, privateMode);
  await files.remove(paths.attempt(dataDir));
  await files.remove(paths.init(dataDir));
}

export async function findAttempt({ files, dataDir }: MembershipFiles): Promise<JoinAttempt | undefined> {
  const text = await files.findText(paths.attempt(dataDir));
  if (text === undefined) return undefined;
  const { requestId, key, rootDigest } = parseObject(text, paths.attempt(dataDir));
  if (typeof requestId !== 'string' || typeof key !== 'string' || typeof rootDigest !== 'string') return undefined;
  return { requestId, key: Buffer.from(key, 'base64'), rootDigest };
}

export async function saveAttempt({ files, dataDir }: MembershipFiles, attempt: JoinAttempt): Promise<void> {
  await files.makeDirectory(paths.folder(dataDir), { mode: 0o700 });
  const text = JSON.stringify({ ...attempt, key: Buffer.from(attempt.key).toString('base64') });
  await files.replace(paths.attempt(dataDir), text, privateMode);
}

/** What was asked for is there. */
export async function dropAttempt({ files, dataDir }: MembershipFiles): Promise<void> {
  await files.remove(paths.attempt(dataDir));
}

/** Says that what will lie in the store directory belongs to an init that is not done. */
export async function markInit({ files, dataDir }: MembershipFiles): Promise<void> {
  await files.makeDirectory(paths.folder(dataDir), { mode: 0o700 });
  await files.replace(paths.init(dataDir), '{}\n', privateMode);
}

/** Whether an init was begun and not ended. */
export async function isInitUnfinished({ files, dataDir }: MembershipFiles): Promise<boolean> {
  return (await files.findStat(paths.init(dataDir))) !== undefined;
}

/** Ends the membership on disk: node.json first, then all that belongs to it. Images and volumes stay. */
export async function removeMembership({ files, dataDir, keys }: MembershipFiles): Promise<void> {
  await files.remove(paths.member(dataDir));
  await files.syncDirectory(dataDir);
  for (const name of ['raft', 'tasks', 'session', 'tls']) await files.removeTree(`${dataDir}/${name}`);
  await keys.forget();
}

function parseMembership(text: string, path: string): Membership {
  const value = parseObject(text, path);
  const { clusterId, nodeId, nodeName, role, raftId, advertiseAddress, dataPathAddress, labels, joinedAtMs } = value;
  if (value['schemaVersion'] !== schemaVersion) {
    throw new CoveyError('newer-schema', `Cannot read "${path}"`, {
      state: `its version is ${String(value['schemaVersion'])}, this covey (${version}) reads version ${schemaVersion}`,
      hint: 'update this node',
    });
  }
  if (typeof clusterId !== 'string' || !isId(clusterId) || typeof nodeId !== 'string' || !isId(nodeId)) {
    throw damaged(path, 'the ids are missing');
  }
  if (role !== 'worker' && role !== 'manager') throw damaged(path, 'the role is neither worker nor manager');
  if (role === 'manager' && !(Number(raftId) > 0)) throw damaged(path, 'a manager has no member of the Raft group');
  return {
    clusterId: asId(clusterId),
    nodeId: asId(nodeId),
    nodeName: String(nodeName),
    role,
    raftId: Number(raftId ?? 0),
    advertiseAddress: String(advertiseAddress ?? ''),
    dataPathAddress: String(dataPathAddress ?? ''),
    labels: isRecordOfText(labels) ? labels : {},
    joinedAtMs: Number(joinedAtMs ?? 0),
  };
}

function parseObject(text: string, path: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return { ...value };
  } catch (error) {
    throw damaged(path, asCoveyError(error).message);
  }
  throw damaged(path, 'it holds no object');
}

function isRecordOfText(value: unknown): value is Readonly<Record<string, string>> {
  return typeof value === 'object' && value !== null && Object.values(value).every(text => typeof text === 'string');
}

function damaged(path: string, state: string): CoveyError {
  return new CoveyError('state-damaged', `Cannot read "${path}"`, {
    state,
    hint: 'covey leave --force, then join again; or bring the file back from a backup',
  });
}
