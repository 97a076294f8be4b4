/**
 * The network of a node as its users see it: tasks come and go, tables come in, a timer looks at everything. Changes of packet
 * rules are gathered for a moment and made one transaction at a time; links of tasks are made at once.
 *
 * Not here: the data plane (plane.ts), the resolver (dns/).
 */
import { CoveyError } from '../errors.js';
import type { CaptureStart, NetworkMended, TableItem, Task } from '../gen/types.js';
import type { Timer } from '../host.js';
import type { TaskId } from '../ids.js';
import { deadline } from '../lifetime.js';
import { type Attachment, type AttachmentPlan, planAttachment } from './attachment.js';
import { type Attachments, openAttachments } from './attachments.js';
import { type Coalescer, openCoalescer } from './coalesce.js';
import { gatewayAddress, resolverSocketsAt } from './constants.js';
import { hostServers } from './dns/host-servers.js';
import { buildRecords, type RecordParts } from './dns/records.js';
import { openResolver, type Resolver } from './dns/server.js';
import { openMemo } from './memo.js';
import { openPlane, type Plane } from './plane.js';
import { openTablesFile, type TablesFile } from './tables-file.js';
import type { NetworkAttached, NetworkIdentity, NetworkOptions, NetworkStack } from './types.js';
import { abortReason, unlessAborted } from './unless-aborted.js';
import type { Tables } from './wanted.js';

interface State {
  readonly options: NetworkOptions;
  readonly attachments: Attachments;
  readonly plane: Plane;
  readonly file: TablesFile;
  readonly applier: Coalescer;
  readonly ended: AbortController;
  readonly recordParts: RecordParts;
  tables: Tables;
  /** False until tables are known: what an earlier daemon left is not judged by none. */
  tablesKnown: boolean;
  /** In effect. */
  identity: NetworkIdentity | undefined;
  /** Of the last run, until it is in effect: each check tries again. */
  remembered: NetworkIdentity | undefined;
  resolver: Resolver | undefined;
  timer: Timer | undefined;
  /** Those who wait for tables or for the identity. */
  listeners: (() => void)[];
  /** Tables or tasks changed and are not in effect yet: what is missing of that was destroyed by nobody. */
  isBehind: boolean;
  mended: NetworkMended | undefined;
  readonly mendedListeners: (() => void)[];
  /** When they were called last. */
  toldAtMs: number;
  /** Ends with the last of what has to happen one after the other. */
  turn: Promise<unknown>;
}

const glanceEveryDefaultMs = 1_000;
const tellEveryMs = 10_000;
const firstChangeMs = 5;
const burstMs = 20;
const networksWaitMs = 10_000;

export function openNetworkStack(options: NetworkOptions): NetworkStack {
  const { host, runDir, dataDir, telemetry } = options;
  const { clock, files } = host;
  const attachments = openAttachments({ host, runDir });
  const state: State = {
    options,
    attachments,
    plane: openPlane(options, attachments),
    file: openTablesFile({
      clock,
      files,
      directory: `${dataDir}/network`,
      onFailure: error => telemetry.log.warn('tables not written', { error }),
    }),
    applier: openCoalescer({ clock, run: () => inTurn(state, () => apply(state)), firstMs: firstChangeMs, burstMs }),
    ended: new AbortController(),
    recordParts: openMemo(),
    tables: new Map(),
    tablesKnown: false,
    identity: undefined,
    remembered: undefined,
    resolver: undefined,
    timer: undefined,
    listeners: [],
    isBehind: false,
    mended: undefined,
    mendedListeners: [],
    toldAtMs: Number.NEGATIVE_INFINITY,
    turn: Promise.resolve(),
  };
  return {
    recover: () => recover(state),
    configure: identity => inTurn(state, () => configure(state, identity)),
    attach: (task, signal) => attach(state, task, signal),
    detach: taskId => detach(state, taskId),
    attached: () => attachments.ids(),
    applyTables: (items, signal) => applyTables(state, items, signal),
    check: () => inTurn(state, () => check(state)),
    glance: ({ host }) => inTurn(state, () => glance(state, host)),
    facts: () => ({ routes: state.plane.hostRoutes(), networkMended: state.mended, tunnel: state.plane.tunnelFacts() }),
    onMended: listener => void state.mendedListeners.push(listener),
    capture: (start, signal) => capture(state, start, signal),
    heard: () => state.plane.heard(),
    changes: () => state.plane.changes(),
    tunnelFacts: () => state.plane.tunnelFacts(),
    firewallProblems: () => state.plane.firewallProblems(),
    removeEverything: () => inTurn(state, () => removeEverything(state)),
    [Symbol.asyncDispose]: () => close(state),
  };
}

function inTurn<Result>(state: State, work: () => Promise<Result>): Promise<Result> {
  const mine = state.turn.then(work);
  state.turn = mine.catch(() => undefined);
  return mine;
}

async function recover(state: State): Promise<void> {
  const { options, attachments, file } = state;
  const strays = await attachments.recover();
  const kept = await file.load();
  if (kept !== undefined) {
    state.tables = kept.tables;
    state.tablesKnown = true;
  }
  const found = attachments.ids().length;
  options.telemetry.log.info('network found', { tasks: found, strays: strays.length, tables: state.tables.size });
  state.remembered = kept?.identity;
  await inTurn(state, () => check(state)).catch(error => {
    // An address that is gone, for instance: the managers will know the new identity, and the next check tries again.
    options.telemetry.log.warn('network not taken over yet', { error });
  });
  arm(state);
}

/** Glances are cheap, since the kernel tells of changes; all is looked at now and then, whatever it told. */
const glancesPerHostCheck = 4;
const glancesPerCheck = 60;

/** The next look, some time after the last one. A failure is told once each time; the next look tries again. */
function arm(state: State, number = 1): void {
  const { host, glanceEveryMs = glanceEveryDefaultMs } = state.options;
  state.timer = host.clock.after(glanceEveryMs, () => {
    void inTurn(state, () => look(state, number))
      .catch(error => {
        if (!state.ended.signal.aborted) state.options.telemetry.log.warn('network check failed', { error });
      })
      .finally(() => {
        if (!state.ended.signal.aborted) arm(state, number + 1);
      });
  });
}

async function look(state: State, number: number): Promise<void> {
  const isWhole = number % glancesPerCheck === 0;
  if (state.isBehind) await apply(state);
  const mended = await (isWhole ? check(state) : glance(state, number % glancesPerHostCheck === 0));
  if (mended.length === 0) return;
  const { host, telemetry } = state.options;
  const last = mended.slice(0, mendedShownMax);
  telemetry.log.warn('network mended', { count: mended.length, first: last });
  telemetry.count('network_mended_total', mended.length);
  state.mended = { times: (state.mended?.times ?? 0) + 1, lastAtMs: host.clock.wallMs(), last };
  const nowMs = host.clock.monotonicMs();
  if (nowMs - state.toldAtMs < tellEveryMs) return;
  state.toldAtMs = nowMs;
  for (const listener of state.mendedListeners) listener();
}

async function glance(state: State, host: boolean): Promise<readonly string[]> {
  if (state.identity === undefined || !state.tablesKnown) return check(state);
  return state.plane.glance(state.tables, { host, signal: state.ended.signal });
}

async function configure(state: State, identity: NetworkIdentity): Promise<void> {
  const { options, plane } = state;
  const { kernel, clock, random, files } = options.host;
  if (state.identity !== undefined && JSON.stringify(state.identity) === JSON.stringify(identity)) return;
  const fresh = plane.configure(identity, state.tables);
  state.resolver ??= await openResolver({
    kernel,
    namespace: plane.namespace(),
    keptAt: resolverSocketsAt(options.runDir),
    clock,
    random,
    telemetry: options.telemetry,
    servers: options.upstreams ?? (() => hostServers(files.findTextSync)),
    findAsker: state.attachments.findAsker,
    records: buildRecords(state.tables, state.recordParts),
  });
  state.identity = identity;
  state.remembered = undefined;
  remember(state);
  if (fresh) state.tablesKnown = true;
  await check(state);
  notify(state);
}

function remember({ file, identity, tables }: State): void {
  file.save({ identity, tables });
}

function notify(state: State): void {
  const listeners = state.listeners;
  state.listeners = [];
  for (const listener of listeners) listener();
}

/** Resolves at the next change of tables or identity. */
async function changed(state: State, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const onAbort = (): void => {
      state.listeners = state.listeners.filter(one => one !== wake);
      reject(abortReason(signal));
    };
    const wake = (): void => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    };
    if (signal.aborted) {
      reject(abortReason(signal));
      return;
    }
    signal.addEventListener('abort', onAbort, { once: true });
    state.listeners.push(wake);
  });
}

async function apply(state: State): Promise<void> {
  if (state.identity === undefined || !state.tablesKnown) return;
  state.isBehind = false;
  await state.plane.apply(state.tables, state.ended.signal);
  show(state);
}

function show(state: State): void {
  state.resolver?.show(buildRecords(state.tables, state.recordParts));
}

async function check(state: State): Promise<readonly string[]> {
  if (state.identity === undefined) {
    if (state.remembered !== undefined) await configure(state, state.remembered);
    return [];
  }
  if (!state.tablesKnown) {
    show(state);
    return [];
  }
  const mended = await state.plane.check(state.tables, state.ended.signal);
  show(state);
  return mended;
}

const mendedShownMax = 10;

async function applyTables(state: State, items: ReadonlyMap<string, TableItem>, signal: AbortSignal): Promise<void> {
  state.tables = items;
  state.tablesKnown = true;
  state.isBehind = true;
  notify(state);
  while (state.identity === undefined) await changed(state, signal);
  remember(state);
  const applied = state.applier.request();
  await unlessAborted(applied, signal);
}

async function attach(state: State, task: Task, signal: AbortSignal): Promise<NetworkAttached> {
  const { attachments } = state;
  const known = attachments.find(task.id);
  if (known !== undefined) return attachedAs(state, known);
  const attachment = await planned(state, task, signal);
  if (attachment === undefined) {
    return {
      namespacePath: undefined,
      nameservers: hostServers(state.options.host.files.findTextSync),
      searchDomains: [],
      takesUpstreams: false,
    };
  }
  // Another call for the same task may have been first while this one waited.
  if (attachments.find(task.id) === undefined) await make(state, attachment);
  return attachedAs(state, attachment);
}

/** undefined: the task uses the host's network. */
async function planned(state: State, task: Task, signal: AbortSignal): Promise<Attachment | undefined> {
  const now = planNow(state, task);
  if (now.kind !== 'wait') return now.kind === 'host' ? undefined : now.attachment;
  const { clock } = state.options.host;
  using limit = deadline(clock, { ms: networksWaitMs, parent: signal, reason: () => unknownNetworks(state, task) });
  for (;;) {
    await changed(state, AbortSignal.any([limit.signal, state.ended.signal]));
    const plan = planNow(state, task);
    if (plan.kind !== 'wait') return plan.kind === 'host' ? undefined : plan.attachment;
  }
}

/** A link needs the fabric, hence the identity. */
function planNow(state: State, task: Task): AttachmentPlan {
  const plan = planAttachment(task, state.tables, state.plane.mtu());
  const tooEarly = plan.kind === 'attach' && plan.attachment.kind === 'overlay' && state.identity === undefined;
  return tooEarly ? { kind: 'wait', networks: [] } : plan;
}

function unknownNetworks(state: State, task: Task): CoveyError {
  return new CoveyError('network-attach', `Cannot attach task ${task.id} to its networks: not known on this node yet`, {
    state: `${state.tables.size} items in the tables of this node after ${networksWaitMs / 1_000} s`,
    hint: 'covey node ls shows whether this node is connected',
  });
}

async function make(state: State, attachment: Attachment): Promise<void> {
  const { attachments, plane } = state;
  attachments.add(attachment);
  try {
    plane.attach(attachment);
  } catch (error) {
    attachments.remove(attachment.taskId);
    throw new CoveyError('network-attach', `Cannot attach task ${attachment.taskId} to its networks`, { cause: error });
  }
  // The set of its own addresses (hairpin) may follow a moment later: nothing leads back to it before it serves.
  if (attachment.kind === 'overlay') follow(state);
}

/** A change of packet rules that nobody waits for. */
function follow(state: State): void {
  if (state.identity === undefined) return;
  state.isBehind = true;
  state.applier.request().catch(error => {
    if (!state.ended.signal.aborted) state.options.telemetry.log.warn('packet rules not changed', { error });
  });
}

function attachedAs(state: State, attachment: Attachment): NetworkAttached {
  const isOverlay = attachment.kind === 'overlay';
  return {
    namespacePath: state.attachments.pinOf(attachment.taskId),
    nameservers: isOverlay ? [gatewayAddress] : [],
    searchDomains: isOverlay && attachment.stack !== '' ? [`${attachment.stack}.internal`] : [],
    takesUpstreams: isOverlay,
  };
}

async function detach(state: State, taskId: TaskId): Promise<void> {
  const { attachments, plane } = state;
  const attachment = attachments.find(taskId);
  if (attachment === undefined) return;
  plane.detach(attachment);
  attachments.remove(taskId);
  follow(state);
}

function capture({ attachments, plane }: State, start: CaptureStart, signal: AbortSignal): AsyncIterable<Uint8Array> {
  const attachment = attachments.find(start.taskId);
  if (attachment?.kind === 'overlay') return plane.capture(attachment, start, signal);
  throw new CoveyError('not-found', `Cannot look at packets of task ${start.taskId}: it has no link on this node`);
}

async function removeEverything(state: State): Promise<readonly string[]> {
  const { attachments, plane, file } = state;
  await state.resolver?.close();
  state.resolver = undefined;
  state.options.host.kernel.releaseKeptSockets(resolverSocketsAt(state.options.runDir));
  for (const attachment of attachments.list()) {
    plane.detach(attachment);
    attachments.remove(attachment.taskId);
  }
  state.identity = undefined;
  state.remembered = undefined;
  state.tables = new Map();
  state.tablesKnown = false;
  const done = await plane.remove();
  await file.remove();
  return done;
}

async function close(state: State): Promise<void> {
  if (state.ended.signal.aborted) return;
  const reason = new CoveyError('cancelled', 'Cannot change the network: the daemon is ending');
  state.ended.abort(reason);
  state.timer?.cancel();
  state.applier.close(reason);
  await state.turn;
  await state.resolver?.close();
  await state.file.flush();
  state.plane[Symbol.dispose]();
}
