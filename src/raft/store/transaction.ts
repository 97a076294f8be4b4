/**
 * What one transaction does to the state: all of its changes, or (void) none. A pure function of state, transaction and
 * index, so that every manager comes to the same result; nothing here reads a clock or draws a number.
 *
 * Checked: base versions, unique names, and the table of task edges against the principal.
 *
 * Called by machine.ts for what comes out of the log, and by open.ts to try decisions before they are proposed.
 */
import { isDeepStrictEqual } from 'node:util';
import { CoveyError, type ErrorCode } from '../../errors.js';
import type { Change, Meta, Task, TaskSpec, Transaction } from '../../gen/types.js';
import { isServing } from '../../serving.js';
import { schemaVersion } from '../../version.js';
import type { StoreEvent, TableName, Tables, Write } from '../store.js';
import type { Once } from './clients.js';
import { actorsOf, isEnded, refuseTaskDeletion, refuseTaskWrite } from './edges.js';
import { schemaOf } from './schema.js';
import { isTableName, namedTables, type State } from './tables.js';

export type Verdict =
  | { readonly kind: 'applied'; readonly events: readonly StoreEvent[] }
  | { readonly kind: 'void'; readonly code: ErrorCode; readonly message: string; readonly state: string };

interface Applying {
  readonly state: State;
  readonly transaction: Transaction;
  readonly index: number;
}

class Void extends Error {
  readonly code: ErrorCode;
  readonly state: string;
  constructor(code: ErrorCode, message: string, state: string) {
    super(message);
    this.code = code;
    this.state = state;
  }
}

export function applyTransaction(state: State, transaction: Transaction, index: number): Verdict {
  const applying: Applying = { state, transaction, index };
  const mark = state.mark();
  try {
    const events = transaction.changes.map(change => applyChange(applying, change));
    return { kind: 'applied', events };
  } catch (error) {
    state.rollBack(mark);
    if (!(error instanceof Void)) throw error;
    return { kind: 'void', code: error.code, message: error.message, state: error.state };
  }
}

function applyChange(applying: Applying, { baseVersion, action }: Change): StoreEvent {
  switch (action.kind) {
    case 'cluster':
      return put(applying, 'cluster', { baseVersion, object: action });
    case 'joinToken':
      return put(applying, 'joinToken', { baseVersion, object: action });
    case 'node':
      return put(applying, 'node', { baseVersion, object: action });
    case 'service':
      return put(applying, 'service', { baseVersion, object: action });
    case 'task':
      return put(applying, 'task', { baseVersion, object: checkedTask(applying, action) });
    case 'network':
      return put(applying, 'network', { baseVersion, object: action });
    case 'secret':
      return put(applying, 'secret', { baseVersion, object: action });
    case 'config':
      return put(applying, 'config', { baseVersion, object: action });
    case 'revision':
      return put(applying, 'revision', { baseVersion, object: action });
    case 'removedNode':
      return put(applying, 'removedNode', { baseVersion, object: action });
    case 'deletion':
      if (!isTableName(action.table)) throw newerSchema(`a change of table "${action.table}"`);
      return remove(applying, action.table, { baseVersion, id: action.id });
  }
}

function put<Name extends TableName>(
  { state, transaction, index }: Applying,
  table: Name,
  { baseVersion, object: given }: { readonly baseVersion: number; readonly object: Tables[Name] },
): StoreEvent {
  const old = state.view.find(table, given.id);
  checkVersion(table, given.id, { baseVersion, old });
  checkName(state, table, given);
  const object = stripped(given, metaAfter(old?.meta, transaction, index));
  state.put(table, object);
  return { kind: 'put', table, object, old } as StoreEvent;
}

function remove<Name extends TableName>(
  { state, transaction }: Applying,
  table: Name,
  { baseVersion, id }: { readonly baseVersion: number; readonly id: string },
): StoreEvent {
  const old = state.view.find(table, id);
  checkVersion(table, id, { baseVersion, old });
  if (old === undefined) throw new Void('stale-version', `Cannot delete ${table} "${id}"`, 'it does not exist');
  if (table === 'task') {
    const refusal = refuseTaskDeletion(old as Task, actorsOf(transaction.principal));
    if (refusal !== undefined) throw new Void('illegal-transition', `Cannot delete task "${id}"`, refusal);
  }
  state.remove(table, id);
  return { kind: 'delete', table, old } as StoreEvent;
}

function checkVersion(
  table: TableName,
  id: string,
  { baseVersion, old }: { readonly baseVersion: number; readonly old: { readonly meta: Meta } | undefined },
): void {
  const present = old?.meta.version ?? 0;
  if (present === baseVersion) return;
  const state = `present version ${present}, changed on top of version ${baseVersion}`;
  throw new Void('stale-version', `Cannot change ${table} "${id}": it was changed by somebody else`, state);
}

function checkName(state: State, table: TableName, object: { readonly id: string }): void {
  const named = namedTables.find(name => name === table);
  if (named === undefined || !('spec' in object)) return;
  const { name } = object.spec as { readonly name: string };
  const holder = state.view.findByName(named, name);
  if (holder === undefined || holder.id === object.id) return;
  throw new Void('already-exists', `Cannot store ${table} "${name}": the name is taken`, `it belongs to ${holder.id}`);
}

/** The task as it may be stored: its edge is legal, and its spec is the one it was made with. */
function checkedTask({ state, transaction }: Applying, task: Task): Task {
  const old = state.view.find('task', task.id);
  const refusal = refuseTaskWrite(old, task, actorsOf(transaction.principal));
  if (refusal !== undefined) {
    throw new Void('illegal-transition', `Cannot change task "${task.id}" as ${transaction.principal}`, refusal);
  }
  const timed = timedTask(old, task, transaction.atMs);
  return old === undefined ? timed : { ...timed, spec: keptSpec(old.spec, task.spec) };
}

/** Nothing of a task's spec changes but its limits, which it gets where it is. */
function keptSpec(old: TaskSpec, asked: TaskSpec): TaskSpec {
  return asked.force === newLimits.force ? { ...old, limits: asked.limits } : old;
}

/** With the times at which it was first ready and ended (in its present attempt), by the clock of the log. */
function timedTask(
  old: Task | undefined,
  { runningAtMs: _running, endedAtMs: _ended, ...task }: Task,
  atMs: number,
): Task {
  const { state, attempt } = task.status;
  const known = old?.status.attempt === attempt ? old : undefined;
  const runningAtMs = known?.runningAtMs ?? (isServing(task.status) ? atMs : undefined);
  const endedAtMs = known?.endedAtMs ?? (isEnded(state) ? atMs : undefined);
  return {
    ...task,
    ...(runningAtMs === undefined ? {} : { runningAtMs }),
    ...(endedAtMs === undefined ? {} : { endedAtMs }),
  };
}

function metaAfter(old: Meta | undefined, transaction: Transaction, index: number): Meta {
  return {
    version: index,
    createdAtMs: old?.createdAtMs ?? transaction.atMs,
    updatedAtMs: transaction.atMs,
    owner: old?.owner ?? ownerOf(transaction.principal),
  };
}

function ownerOf(principal: string): string {
  return principal.startsWith('system:') ? 'system' : principal;
}

/** The object without the mark of its union, with its new meta. */
function stripped<Name extends TableName>(object: Tables[Name], meta: Meta): Tables[Name] {
  const { kind: _, ...rest } = object as Tables[Name] & { readonly kind?: unknown };
  return { ...rest, meta } as unknown as Tables[Name];
}

const noMeta: Meta = { version: 0, createdAtMs: 0, updatedAtMs: 0, owner: '' };

/** Stands in entries for the spec of a task that exists: apply keeps the one that it was made with. */
const sameSpec: TaskSpec = {
  containers: [],
  restart: { condition: 'any', attemptsMax: 0, windowMs: 0 },
  placement: { constraints: [], perNodeMax: 0, spread: [] },
  networks: [],
  runtime: '',
  force: 0,
};

/** The same, but for the limits, which are in it; without any the task has none from now on. */
const newLimits: TaskSpec = { ...sameSpec, force: 1 };

function specInEntry(old: TaskSpec, { limits }: TaskSpec): TaskSpec {
  if (isDeepStrictEqual(old.limits, limits)) return sameSpec;
  return limits === undefined ? newLimits : { ...newLimits, limits };
}

/** The transaction that writes stand for, based on the versions in the state. */
export function transactionOf(
  state: State,
  writes: readonly Write[],
  { principal, atMs, once }: { readonly principal: string; readonly atMs: number; readonly once?: Once | undefined },
): Transaction {
  const changes = writes.map(write => changeOf(state, write));
  return { schemaVersion: schemaOf(writes.map(({ table }) => table)), atMs, principal, once, changes };
}

function changeOf(state: State, write: Write): Change {
  const id = write.kind === 'put' ? write.object.id : write.id;
  const old = state.view.find(write.table, id);
  const baseVersion = old?.meta.version ?? 0;
  if (write.kind === 'delete') return { baseVersion, action: { kind: 'deletion', table: write.table, id } };
  const oldTask = write.table === 'task' ? state.view.find('task', id) : undefined;
  const object =
    write.table === 'task' && oldTask !== undefined
      ? { ...write.object, spec: specInEntry(oldTask.spec, write.object.spec) }
      : write.object;
  return { baseVersion, action: { ...object, meta: noMeta, kind: write.table } as Change['action'] };
}

export function newerSchema(what: string, cause?: unknown): CoveyError {
  return new CoveyError('newer-schema', `Cannot apply ${what}: this version of covey does not know it`, { cause });
}

/** The message, if its schema is one that this version knows. */
export function decodeKnown<Message extends { readonly schemaVersion: number }>(
  type: { readonly decode: (bytes: Uint8Array) => Message },
  bytes: Uint8Array,
): Message {
  let message: Message;
  try {
    message = type.decode(bytes);
  } catch (error) {
    throw newerSchema(`${bytes.length} bytes of the log`, error);
  }
  if (message.schemaVersion < 1 || message.schemaVersion > schemaVersion)
    throw newerSchema(`schema version ${message.schemaVersion}`);
  return message;
}
