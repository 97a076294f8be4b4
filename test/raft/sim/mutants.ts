/**
 * `npm run mutants`: the check of the checks. Each row breaks one rule of the compiled core, storage or driver, in a
 * copy; the simulator has to notice within the given number of seeds. Prints who was caught, by which seed and how;
 * ends with `N of M caught`.
 *
 * A row whose text is no longer in the file, or is there twice, is an error: the row has to follow the code.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { runSeed } from './run.js';

export interface Mutant {
  readonly name: string;
  /** Under dist/src/raft. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

export const mutants: readonly Mutant[] = [
  {
    name: 'commits entries of older terms by counting (B9, figure 8)',
    file: 'core/raft/replicate.js',
    find: ' || !matches(raft.log, index, raft.term))',
    replace: ')',
  },
  {
    name: 'does not store its vote (B17)',
    file: 'node.js',
    find: 'this.#storage.append({ hardState, marker, entries }',
    replace: 'this.#storage.append({ hardState: hardState && { ...hardState, vote: 0 }, marker, entries }',
  },
  {
    name: 'commits what the leader says, whatever matched (B10)',
    file: 'core/log.js',
    find: 'Math.min(slice.commit, matched)',
    replace: 'slice.commit',
  },
  {
    name: 'answers reads without asking whether it still leads (B1)',
    file: 'core/raft/reads.js',
    find: 'raft.config.leaseReads || isSingleton(raft.tracker)',
    replace: 'true',
  },
  {
    name: 'answers reads before its first commit of the term (B2)',
    file: 'core/raft/reads.js',
    find: 'if (!hasCommittedInTerm(raft)) {',
    replace: 'if (false) {',
  },
  {
    name: 'votes for candidates with an older log (B14)',
    file: 'core/raft/elect.js',
    find: 'free && isUpToDate(raft.log, request.lastIndex, request.lastTerm)',
    replace: 'free',
  },
  {
    name: 'votes twice in a term',
    file: 'core/raft/elect.js',
    find: 'const free = raft.vote === request.from',
    replace: 'const free = true || raft.vote === request.from',
  },
  {
    name: 'leads before its own vote is on disk',
    file: 'core/raft/elect.js',
    find: 'if (raft.tracker.votes.get(raft.id) !== true)\n                break;',
    replace: '',
  },
  {
    name: 'keeps a conflicting tail (B12)',
    file: 'core/log.js',
    find: 'appendEntries(log, fresh === 0',
    replace: 'if (lastIndex(log) < matched) appendEntries(log, fresh === 0',
  },
  {
    name: 'sends replies before they are on disk (B17)',
    file: 'node.js',
    find: 'const mustSync = append.mustSync || snapshot !== undefined;',
    replace:
      "const mustSync = append.mustSync || snapshot !== undefined; for (const reply of append.responses) if (reply.kind !== 'storage-append-done' && reply.to !== this.#options.id) this.#sender.send(reply);",
  },
  {
    name: 'counts its own entries before they are on disk (B33)',
    file: 'core/raft/replicate.js',
    find: 'acceptAppend(raft, raft.id, last);',
    replace:
      'Object.assign(raft.tracker.byId.get(raft.id), { match: last, next: last + 1 }); acceptAppend(raft, raft.id, last);',
  },
  {
    name: 'campaigns with a committed change of members unapplied (B4)',
    file: 'core/raft/elect.js',
    find: 'if (hasConfChange(raft, raft.log.applied + 1, raft.log.committed + 1)) {',
    replace: 'if (false) {',
  },
  {
    name: 'allows a second change of members while one is pending (B3)',
    file: 'core/raft/propose.js',
    find: 'if (raft.pendingConfIndex > raft.log.applied)',
    replace: 'if (false)',
  },
  {
    name: 'takes the hint of a refusal for a match (B7)',
    file: 'core/progress.js',
    find: 'progress.next = Math.max(Math.min(rejected, hint + 1), progress.match + 1);',
    replace:
      'progress.match = Math.max(progress.match, Math.min(hint, rejected - 1)); progress.next = progress.match + 1;',
  },
  {
    name: 'keeps its old members when it takes a snapshot (B16)',
    file: 'core/raft/membership.js',
    find: 'restoreConfig(raft.tracker, snapshot.confState, lastIndex(raft.log));',
    replace: '',
  },
  {
    name: 'forgets its vote when it steps down within a term (B6)',
    file: 'core/raft/roles.js',
    find: '    raft.electionElapsed = 0;\n    raft.heartbeatElapsed = 0;',
    replace: '    raft.vote = nobody;\n    raft.electionElapsed = 0;\n    raft.heartbeatElapsed = 0;',
  },
  {
    name: 'elects by one half of a joint configuration',
    file: 'core/quorum.js',
    find: 'const outgoing = voteResult(voters.outgoing, vote);',
    replace: 'const outgoing = incoming;',
  },
  {
    name: 'acknowledges one entry too many',
    file: 'core/raft/follow.js',
    find: 'acceptAppend(raft, request.from, result.lastIndex);',
    replace: 'acceptAppend(raft, request.from, result.lastIndex + 1);',
  },
  {
    name: 'commits by one half of a joint configuration',
    file: 'core/quorum.js',
    find: 'voters.outgoing.length === 0 ? incoming',
    replace: 'true ? incoming',
  },
  {
    name: 'tells followers a commit index beyond what they match',
    file: 'core/raft/replicate.js',
    find: 'Math.min(progress.match, raft.log.committed)',
    replace: 'raft.log.committed',
  },
  {
    name: 'never ends a transfer of leadership (B24)',
    file: 'core/raft/tick.js',
    find: '        abortTransfer(raft);',
    replace: '',
  },
  {
    name: 'goes on applying old entries under a new snapshot (B41)',
    file: 'node.js',
    find: 'this.#installer.isBusy() ? false : apply.run()',
    replace: 'apply.run()',
  },
  {
    name: 'does not sync the log (B33)',
    file: 'storage/wal.js',
    find: '        this.#file.datasync();\n        this.#syncs += 1;\n        this.#syncedSeq = this.#chain.seq;\n        this.#offset = nextSector(this.#offset);\n    }\n    #cut',
    replace:
      '        this.#syncs += 1;\n        this.#syncedSeq = this.#chain.seq;\n        this.#offset = nextSector(this.#offset);\n    }\n    #cut',
  },
  {
    name: 'does not sync the folder of a new segment (B37)',
    file: 'storage/wal.js',
    find: '        disk.rename(source, path);\n        disk.syncFolder(folder);',
    replace: '        disk.rename(source, path);',
  },
  {
    name: 'goes on after a failed sync (B39)',
    file: 'storage/wal.js',
    find: 'this.#failure ??= storageFailure(verb, this.#options.folder, cause);\n        return this.#failure;',
    replace: 'return storageFailure(verb, this.#options.folder, cause);',
  },
  {
    name: 'trusts what may never have reached the platter after a restart (B39)',
    file: 'storage/wal.js',
    find: "if (reading.unproven.length === 0 && reading.tail.kind === 'clean')",
    replace:
      "if (reading.tail.kind === 'clean' && (this.#chain = reading.segments.at(-1).scan.chain, this.#syncedSeq = this.#chain.seq, reading = { ...reading, proven: this.#chain }))",
  },
];

export interface Catch {
  readonly mutant: Mutant;
  readonly seed: number | undefined;
  readonly violation: string | undefined;
}

/** Runs one mutant until the simulator notices, for at most so many seeds. */
export async function hunt(mutant: Mutant, seedsMax: number): Promise<Catch> {
  const dist = fileURLToPath(new URL('../../..', import.meta.url));
  const copy = mkdtempSync(join(tmpdir(), 'covey-mutant-'));
  try {
    for (const part of ['src', 'test/raft']) cpSync(join(dist, part), join(copy, part), { recursive: true });
    writeFileSync(join(copy, 'package.json'), '{"type":"module"}');
    const path = join(copy, 'src/raft', mutant.file);
    const text = readFileSync(path, 'utf8');
    if (text.split(mutant.find).length !== 2)
      throw new Error(`the mutant "${mutant.name}" does not fit ${mutant.file} any more`);
    writeFileSync(
      path,
      text.replace(mutant.find, () => mutant.replace),
    );
    const broken: { readonly runSeed: typeof runSeed } = await import(
      pathToFileURL(join(copy, 'test/raft/sim/run.js')).href
    );
    for (let seed = 1; seed <= seedsMax; seed += 1) {
      const { violation } = broken.runSeed(seed);
      if (violation !== undefined) return { mutant, seed, violation };
    }
    return { mutant, seed: undefined, violation: undefined };
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

async function main(seedsMax: number, only: string | undefined): Promise<void> {
  let caught = 0;
  const chosen = mutants.filter(({ name }) => only === undefined || name.includes(only));
  for (const mutant of chosen) {
    const { seed, violation } = await hunt(mutant, seedsMax);
    if (seed !== undefined) caught += 1;
    console.log(
      `${seed === undefined ? 'MISSED' : `seed ${String(seed).padStart(4)}`}  ${mutant.name}\n             ${violation?.split('\n')[0]?.slice(0, 150) ?? `not noticed in ${seedsMax} seeds`}`,
    );
  }
  console.log(`${caught} of ${chosen.length} caught`);
  process.exitCode = caught === chosen.length ? 0 : 1;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  await main(Number(process.argv[2] ?? 2000), process.argv[3]);
