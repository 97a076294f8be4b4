/**
 * The state of a manager at rest: under which keys its log lies on disk, and who can open them.
 *
 *     unlock key      32 bytes in the store of the cluster and with people; none without autolock
 *       └─ seals      the key of this node (KEK); without autolock it lies in keys.json as it is, mode 0600
 *            └─ seals the keys of log and snapshots (DEKs), one for each time that the log is opened; and, with autolock,
 *                     the private key in tls/node.pem
 *
 * Keeps true: a key is on disk, sealed, before anything is written under it; keys.json is replaced in one step, so that a
 * crash leaves the old keys or the new ones, and both open what lies there; a key goes when nothing is written under it
 * any more. When the lock changes, so do KEK and DEK: what lay in the clear before opens nothing that is written later.
 *
 * How it goes: `unlock-key.ts` is what people hold -> `key-file.ts` is keys.json and its changes, pure -> `keeper.ts` reads
 * and replaces it -> `care.ts` follows the cluster's wish on a manager that runs -> `control.ts` is the wish. The records
 * themselves are sealed in raft/storage (keyring.ts, binding.ts).
 */
export { type CareParts, openKeyCare } from './care.js';
export { type KeyKeeper, type Lock, lockedError, openKeyKeeper } from './keeper.js';
