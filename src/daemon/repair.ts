/**
 * `coveyd --repair-log`: the log of a manager is damaged in the middle, so its daemon does not start. Looks at the log and says what
 * is lost; on demand ends it before the damage and sets the rest aside.
 *
 * Keeps true: what was acknowledged after the damage may be lost by it, and a member that has forgotten what it promised could
 * give its vote twice. So it is for the last manager alone: where another one answers nothing is changed. Nothing is deleted.
 *
 * Called by main.ts, with no daemon on the data directory. Not here: the log (raft/storage), a group made anew without its other
 * members (membership/recover.ts), everything from a backup (membership/restore.ts).
 */
import { CoveyError, messageOf } from '../errors.js';
import type { ManagerAddress } from '../gen/types.js';
import type { Host } from '../host.js';
import { openLifetime } from '../lifetime.js';
import { inspectLog, type LogReport, repairLog } from '../raft/storage/inspect.js';
import { createRealDisk } from '../raft/storage/real-disk.js';
import type { Logger } from '../telemetry.js';
import { openWire } from '../wire.js';
import { storageOf } from './group/storage.js';
import { openKeyKeeper } from './keys/index.js';
import { findMember } from './membership/files.js';
import type { Member } from './membership/types.js';
import { connectToManager } from './rpc/index.js';
import { openSessionMemory } from './session/index.js';

export interface RepairOptions {
  readonly host: Host;
  readonly log: Logger;
  readonly dataDir: string;
  /** `look` changes nothing; with `last-manager` a person says that no other manager is left. */
  readonly how: string;
  readonly say: (line: string) => void;
}

const what = 'Cannot repair the log of this manager';
const connectMs = 2_000;

export async function repairOwnLog(options: RepairOptions): Promise<void> {
  const { host, dataDir, how, say } = options;
  if (how !== 'look' && how !== 'last-manager')
    throw new CoveyError('bad-argument', `${what}`, { state: `"${how}" is neither look nor last-manager` });
  if (!host.kernel.lockFile(`${dataDir}/lock`))
    throw new CoveyError('daemon-running', `${what}: a daemon uses it`, { hint: 'stop coveyd first' });
  const keys = openKeyKeeper({ ...host, dataDir });
  const member = await findMember({ files: host.files, dataDir, keys });
  if (member?.membership.role !== 'manager')
    throw new CoveyError(member === undefined ? 'not-in-cluster' : 'not-manager', what, {
      state: `"${dataDir}" belongs to no manager`,
    });
  const { clusterId, raftId } = member.membership;
  const disk = createRealDisk();
  const keyring = await keys.mint();
  const folder = `${storageOf({ dataDir, clusterId, raftId, keyring }).folder}/wal`;
  const report = inspectLog(disk, folder, keyring);
  for (const line of describe(report)) say(line);
  if (report.damage === undefined) return say('The log can be used: nothing is to be repaired.');
  const others = await findOthers(options, member);
  for (const { nodeId, addresses } of others) say(`Another manager is known: ${nodeId} at ${addresses.join(', ')}`);
  if (how === 'look')
    return say(
      others.length === 0
        ? 'coveyd --repair-log last-manager keeps what lies before the damage, and sets the rest aside.'
        : 'With other managers alive: covey node rm there, move the data directory away, join again. Only when all of them are gone for good: coveyd --repair-log last-manager.',
    );
  await refuseWhileAnswered(options, member, others);
  for (const name of repairLog(disk, folder, keyring)) say(`Set aside: ${folder}/${name}`);
  say('The log ends before the damage now. Start coveyd; look at what the last changes were.');
}

function* describe({ segments, damage }: LogReport): Generator<string> {
  for (const { name, frames, firstSeq, lastSeq } of segments)
    yield `${name}: ${frames} good records${frames === 0 ? '' : `, ${firstSeq} to ${lastSeq}`}`;
  if (damage !== undefined)
    yield `Damage: ${damage.name}, offset ${damage.offset}: ${damage.why}. What was stored from there on is lost, if no other manager has it.`;
}

async function findOthers(
  { host, log, dataDir }: RepairOptions,
  { membership }: Member,
): Promise<readonly ManagerAddress[]> {
  await using lifetime = openLifetime('repair', {
    onFailure: (name, error) => log.error('work failed', { name, error }),
  });
  const { files, clock } = host;
  const memory = await openSessionMemory({ files, clock, log, wire: openWire(), dataDir, lifetime });
  return memory.managers().filter(({ nodeId }) => nodeId !== membership.nodeId);
}

/** Whoever answers as a manager of this cluster has a log of its own, or knows who has. */
async function refuseWhileAnswered(
  { host, say }: RepairOptions,
  { identity }: Member,
  others: readonly ManagerAddress[],
): Promise<void> {
  const { clusterId, root, certificate, key } = identity;
  for (const { nodeId, addresses } of others) {
    for (const address of addresses) {
      try {
        await using _ = await connectToManager({
          address,
          nodeId,
          clusterId,
          root,
          client: { certificate, key },
          wire: openWire(),
          clock: host.clock,
          timeoutMs: connectMs,
          signal: new AbortController().signal,
        });
      } catch (error) {
        say(`No answer from ${address}: ${messageOf(error)}`);
        continue;
      }
      throw new CoveyError('quorum-alive', what, {
        state: `manager ${nodeId} answers at ${address}: this is not the last one`,
        hint: 'covey node rm THIS-NODE there, move the data directory away, and join again',
      });
    }
  }
}
