/**
 * The store over a log: decisions are made one after another, each on a state that includes all earlier ones, proposed
 * together as one entry each, and answered when they are applied here. While a batch is on its way the next one gathers.
 *
 * Keeps true: a decision never rests on a change that may still fail without failing itself. Within a batch the tried-out
 * changes are taken back before anything else can look; a decision that touches what an earlier one of its batch changed
 * waits for the next batch, because the version to quote is not known yet.
 *
 * Called by daemon/node.ts. Not here: what an entry does (transaction.ts), how it becomes durable (group-log.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Transaction } from '../../gen/types.js';
import type { Clock } from '../../host.js';
import type { Wire } from '../../wire.js';
import type { Log, ProposeOutcome } from '../log.js';
import type { FailedOutcome, Store, UpdateOptions, View, Write } from '../store.js';
import { type Machine, openMachine, type StoreMachine } from './machine.js';
import { refuseForOlder } from './schema.js';
import { applyTransaction, transactionOf } from './transaction.js';

export interface StoreParts {
  readonly wire: Wire;
  readonly clock: Pick<Clock, 'wallMs'>;
  /** Opens the log with the machine that it feeds; the store owns it. */
  readonly openLog: (machine: StoreMachine) => Promise<Log>;
}

/** The store with its log; disposing closes the log, and updates that wait are refused. */
export interface OpenStore extends Store, AsyncDisposable {
  readonly log: Pick<Log, 'term' | 'lastApplied'>;
  /** Everything as of this moment, for a backup. */
  readonly snapshotPieces: () => Iterable<Uint8Array>;
}

export const changesMax = 200;
const entryMaxBytes = 1 << 20;
/** Updates and bytes of one batch: what may be decided at a stretch. */
const batchMax = 64;
const batchMaxBytes = 4 << 20;

type Decide = (view: View) => readonly Write[];

interface Pending {
  readonly decide: Decide;
  readonly options: UpdateOptions;
  readonly resolve: (version: number) => void;
  readonly reject: (error: unknown) => void;
}

interface Decided {
  readonly pending: Pending;
  /** undefined: there was nothing to write. */
  readonly entry: Uint8Array | undefined;
  /** It was done before, at this version. */
  readonly doneAt?: number | undefined;
}

interface Batch {
  readonly decided: Decided[];
  readonly deferred: Pending[];
  readonly touched: Set<string>;
  sizeBytes: number;
}

export async function openStore({ wire, clock, openLog }: StoreParts): Promise<OpenStore> {
  const machine = openMachine(wire);
  const log = await openLog(machine);
  const transactions = wire.type('Transaction');
  const queue: Pending[] = [];
  let working: Promise<void> | undefined;
  let closed = false;

  const work = async (): Promise<void> => {
    await Promise.resolve(); // what is asked for in the same turn shares the batch
    while (queue.length > 0) {
      const batch = decideBatch(machine, queue, { encode: transactions.encode, atMs: clock.wallMs() });
      const waiting = await settle(batch, machine, log);
      queue.unshift(...batch.deferred, ...waiting);
    }
    working = undefined;
  };
  return {
    view: () => machine.state.view,
    watch: watcher => machine.watch(watcher),
    log,
    snapshotPieces: machine.snapshotPieces,
    update: (decide, options) =>
      new Promise((resolve, reject) => {
        if (closed) reject(new CoveyError('cancelled', 'Cannot change the cluster: the store is closed'));
        else queue.push(pendingOf({ decide, options, resolve, reject }));
        working ??= work();
      }),
    [Symbol.asyncDispose]: async () => {
      closed = true;
      for (const { reject } of queue.splice(0)) {
        reject(new CoveyError('cancelled', 'Cannot change the cluster: the store is closed'));
      }
      await log[Symbol.asyncDispose]();
      await working;
    },
  };
}

/** The update, given up when its caller gives up. */
function pendingOf(pending: Pending): Pending {
  const { signal } = pending.options;
  const onAbort = (): void => pending.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  const done = (): void => signal.removeEventListener('abort', onAbort);
  return {
    ...pending,
    resolve: version => {
      done();
      pending.resolve(version);
    },
    reject: error => {
      done();
      pending.reject(error);
    },
  };
}

interface Proposing {
  readonly encode: (transaction: Transaction) => Uint8Array;
  readonly atMs: number;
}

/** Decides as many waiting updates as one batch holds, each on top of those before; leaves the state as it was. */
function decideBatch(machine: Machine, queue: Pending[], proposing: Proposing): Batch {
  const batch: Batch = { decided: [], deferred: [], touched: new Set(), sizeBytes: 0 };
  const { state } = machine;
  const mark = state.mark();
  try {
    while (queue.length > 0 && batch.decided.length < batchMax && batch.sizeBytes < batchMaxBytes) {
      const pending = queue.shift() as Pending;
      if (pending.options.signal.aborted) pending.reject(pending.options.signal.reason);
      else decideOne(batch, pending, { machine, proposing });
    }
  } finally {
    state.rollBack(mark);
    state.forget();
  }
  return batch;
}

function decideOne(
  batch: Batch,
  pending: Pending,
  { machine, proposing }: { readonly machine: Machine; readonly proposing: Proposing },
): void {
  const { state } = machine;
  const { principal, once } = pending.options;
  try {
    const doneAt = once === undefined ? undefined : machine.findDone(once);
    if (doneAt !== undefined) {
      batch.decided.push({ pending, entry: undefined, doneAt });
      return;
    }
    const writes = pending.decide(state.view);
    if (writes.length === 0) {
      batch.decided.push({ pending, entry: undefined });
      return;
    }
    const ids = writes.map(write => (write.kind === 'put' ? write.object.id : write.id));
    if (ids.some(id => batch.touched.has(id))) {
      batch.deferred.push(pending);
      return;
    }
    checkCount(writes);
    const transaction = transactionOf(state, writes, { principal, atMs: proposing.atMs, once });
    refuseForOlder(state.view, transaction.schemaVersion);
    const entry = proposing.encode(transaction);
    checkSize(entry);
    const verdict = applyTransaction(state, transaction, state.view.version + 1);
    if (verdict.kind === 'void') throw new CoveyError(verdict.code, verdict.message, { state: verdict.state });
    for (const id of ids) batch.touched.add(id);
    batch.sizeBytes += entry.length;
    batch.decided.push({ pending, entry });
  } catch (error) {
    pending.reject(error);
  }
}

function checkCount(writes: readonly Write[]): void {
  if (writes.length <= changesMax) return;
  const state = `${writes.length} changes, at most ${changesMax} fit into one transaction`;
  throw new CoveyError('too-large', 'Cannot store the change as a whole', { state });
}

function checkSize(entry: Uint8Array): void {
  if (entry.length <= entryMaxBytes) return;
  const state = `${entry.length} bytes, at most ${entryMaxBytes} fit into one transaction`;
  throw new CoveyError('too-large', 'Cannot store the change as a whole', { state });
}

/** Proposes all of a batch and answers; gives back the updates that have to be decided anew. */
async function settle(batch: Batch, machine: Machine, log: Log): Promise<Pending[]> {
  const outcomes = await Promise.all(
    batch.decided.map(({ entry }) => (entry === undefined ? undefined : log.propose(entry))),
  );
  const again: Pending[] = [];
  let failed = false;
  for (const [at, { pending, doneAt }] of batch.decided.entries()) {
    const outcome = outcomes[at];
    if (doneAt !== undefined) {
      pending.resolve(doneAt);
    } else if (outcome === undefined) {
      // It saw what others of the batch wanted: if that came to nothing, its "nothing to do" may be wrong.
      if (failed) again.push(pending);
      else void confirmNothing(pending, machine, log);
    } else {
      failed ||= outcome.kind !== 'committed';
      answer(pending, outcome, machine);
    }
  }
  return again;
}

/**
 * That there is nothing to be done is an answer like a change: a leader that stood still while another was elected does not give
 * it to people. The loops of the leader look again anyway.
 */
async function confirmNothing(pending: Pending, machine: Machine, log: Log): Promise<void> {
  const { view } = machine.state;
  try {
    if (pending.options.once === undefined || ((await log.confirm()) && pending.decide(view).length === 0))
      pending.resolve(view.version);
    else
      pending.reject(new CoveyError('not-leader', 'Cannot say that nothing is to be done: another manager may lead'));
  } catch (error) {
    pending.reject(error);
  }
}

function answer(pending: Pending, outcome: ProposeOutcome, machine: Machine): void {
  const verdict = outcome.kind === 'committed' ? machine.findVoid(outcome.index) : undefined;
  if (outcome.kind !== 'committed') pending.reject(errorOf(outcome));
  else if (verdict === undefined) pending.resolve(doneAtOf(pending, machine) ?? outcome.index);
  else pending.reject(new CoveyError(verdict.code, verdict.message, { state: verdict.state }));
}

/** The entry may have been a repetition: then the version is that of the first one. */
function doneAtOf({ options: { once } }: Pending, machine: Machine): number | undefined {
  return once === undefined ? undefined : machine.findDone(once);
}

/** The error that a proposal which was not committed stands for. */
function errorOf(outcome: FailedOutcome): CoveyError {
  const what = 'Cannot change the cluster';
  switch (outcome.kind) {
    case 'not-leader':
      return outcome.leaderId === undefined
        ? new CoveyError('no-leader', `${what}: no manager leads`)
        : new CoveyError('not-leader', `${what} here: manager ${outcome.leaderId} leads`);
    case 'dropped':
      return new CoveyError('no-leader', `${what} right now: ${outcome.reason}`);
    case 'too-large':
      return new CoveyError('too-large', `${what} as a whole`, {
        state: `${outcome.sizeBytes} bytes, at most ${outcome.limitBytes} fit into one entry`,
      });
    case 'no-space':
      return new CoveyError('no-space', `${what}: the disk of the log is full`, {
        state: outcome.path,
        hint: 'make room; running tasks go on meanwhile',
      });
    case 'stopped':
      return new CoveyError('cancelled', `${what}: the log is closed`);
    case 'unknown':
      return new CoveyError('unknown-outcome', `${what} for certain: it may or may not have been stored`);
  }
}
