/**
 * People at the sockets of the managers while things go wrong: they make, change and remove services and tokens, one command
 * after the other, and look. All they ask and are told goes into a History.
 *
 * A change quotes the version that it read. Tokens are made under a label of their own and counted at the end: a command that
 * was carried out twice leaves two.
 *
 * Not here: the judge (history.ts), what goes wrong (faults.ts).
 */
import { type CoveyError, codeOf } from '../../../src/errors.js';
import type { Service, ServiceSpec } from '../../../src/gen/types.js';
import { createRandom, type Random } from '../../raft/sim/random.js';
import type { DevNode } from '../dev-cluster.js';
import { type ControlCalls, consistent, openControl, sleeperSpec } from './control.js';
import type { Action, History, Value } from './history.js';

export interface Told {
  /** Labels of tokens: asked for, and of those the ones that were answered. */
  readonly tokensAsked: Set<string>;
  readonly tokensMade: Set<string>;
  /** Answers that no fault explains. */
  readonly problems: string[];
  readonly counts: { changes: number; reads: number; refused: number; unknown: number };
}

export interface ClientOptions {
  readonly seed: number;
  readonly managers: readonly DevNode[];
  readonly registers: readonly string[];
  readonly history: History;
  readonly told: Told;
  /** Begins the names of what is made. */
  readonly prefix: string;
  /** The next number that nobody wrote yet. */
  readonly nextValue: () => number;
  /** Services that somebody asked for, besides the registers. */
  readonly names: Set<string>;
  readonly signal: AbortSignal;
}

const callMs = 12_000;
const pauseMs = 25;
const valueLabel = 'value';

/** Nothing was done, and the answer says so. */
const refusals = new Set(['no-leader', 'stale-version', 'no-space', 'not-leader']);
/** Nobody can know. */
const unknowns = new Set(['unknown-outcome', 'no-connection', 'timeout', 'cancelled', 'no-answer']);

interface Client extends ClientOptions {
  readonly random: Random;
  readonly control: () => ControlCalls;
  /** Nobody answers there: it goes to another manager. */
  readonly unreached: () => void;
  /** Services of its own that are there for certain. */
  readonly own: Map<string, Service>;
}

/** Goes on until the signal; resolves when the last command is answered. */
export async function runClient(index: number, options: ClientOptions): Promise<void> {
  const random = createRandom(options.seed, `client ${index}`);
  let at = (index - 1) % options.managers.length;
  let unreached = 0;
  const controls = options.managers.map(({ socket }) => openControl(socket));
  const client: Client = {
    ...options,
    prefix: `${options.prefix}-${index}`,
    random,
    control: () => controls[at]!.calls,
    unreached: () => {
      unreached += 1;
    },
    own: new Map(),
  };
  try {
    for (let turn = 1; !options.signal.aborted; turn += 1) {
      const before = unreached;
      await act(client, turn);
      if (unreached > before) at = (at + 1) % controls.length;
      else if (random.chance(0.1)) at = random.below(controls.length);
      await pause(random.below(2 * pauseMs));
    }
  } finally {
    for (const control of controls) control.close();
  }
}

export const pause = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));

async function act(client: Client, turn: number): Promise<void> {
  const { random, own } = client;
  const dice = random.below(100);
  if (dice < 30) return await changeRegister(client);
  if (dice < 55) return void (await look(client));
  if (dice < 62) return await makeToken(client, turn);
  const mine = [...own.keys()];
  if (mine.length === 0 || dice < 75) return await create(client, turn);
  const name = random.pick(mine);
  return dice < 90 ? await scale(client, name) : await remove(client, name);
}

interface Outcome<Answer> {
  readonly kind: 'done' | 'refused' | 'unknown';
  readonly answer?: Answer;
}

/** What a command needs to know of its client. */
type Asking = Pick<Client, 'told' | 'control' | 'unreached'>;
type Watching = Asking & Pick<Client, 'history' | 'names' | 'registers'>;

async function ask<Answer>(
  client: Asking,
  what: string,
  call: (calls: ControlCalls, options: { signal: AbortSignal; timeoutMs: number }) => Promise<Answer>,
): Promise<Outcome<Answer>> {
  const { told } = client;
  try {
    // Not the client's signal: what was asked is waited for, so that its outcome is known.
    const answer = await call(client.control(), { signal: new AbortController().signal, timeoutMs: callMs });
    return { kind: 'done', answer };
  } catch (error) {
    const code = codeOf(error);
    if (refusals.has(code)) {
      told.counts.refused += 1;
      return { kind: 'refused' };
    }
    told.counts.unknown += 1;
    if (code === 'no-connection') client.unreached();
    if (!unknowns.has(code)) {
      const { message, state } = error as CoveyError;
      told.problems.push(`${what}: ${code}: ${message} (${state ?? ''})`);
    }
    return { kind: 'unknown' };
  }
}

/** Notes a change: a refused one has no place in the history, one that nobody knows about stays open. */
function note(client: Client, key: string, calledAt: number, { kind }: Outcome<unknown>, action: Action): void {
  client.told.counts.changes += 1;
  if (kind === 'refused') return;
  const known = kind === 'done';
  client.history.add(key, { ...action, known } as Action, calledAt, known ? undefined : Number.POSITIVE_INFINITY);
}

const seenValue = (service: Service | undefined): Value => {
  if (service === undefined) return 'none';
  return service.removing ? 'going' : Number(service.spec.labels[valueLabel]);
};

/** All services at once; each name that was asked for before the call has its value in the answer. */
export async function look(client: Watching): Promise<ReadonlyMap<string, Service> | undefined> {
  const { history, told, names, registers } = client;
  const keys = [...registers, ...names];
  const calledAt = history.now();
  const { kind, answer } = await ask(client, 'list', (calls, options) =>
    calls.listServices({ objects: [], stack: '' }, { ...options, ...consistent }),
  );
  if (kind !== 'done' || answer === undefined) return undefined;
  told.counts.reads += 1;
  const returnedAt = history.now();
  const byName = new Map<string, Service>();
  for (const service of answer.services) {
    if (byName.has(service.spec.name)) told.problems.push(`two services are called ${service.spec.name}`);
    byName.set(service.spec.name, service);
  }
  for (const key of keys) history.add(key, { kind: 'read', value: seenValue(byName.get(key)) }, calledAt, returnedAt);
  return byName;
}

async function changeRegister(client: Client): Promise<void> {
  const service = (await look(client))?.get(client.random.pick(client.registers));
  if (service !== undefined) await update(client, service, service.spec);
}

async function update(client: Client, service: Service, spec: ServiceSpec) {
  const to = client.nextValue();
  const { id, meta } = service;
  const { name } = service.spec;
  const calledAt = client.history.now();
  const outcome = await ask(client, `update ${name}`, (calls, options) =>
    calls.updateService(
      { service: id, version: meta.version, spec: { ...spec, labels: { ...spec.labels, [valueLabel]: String(to) } } },
      options,
    ),
  );
  note(client, name, calledAt, outcome, { kind: 'change', from: seenValue(service), to, known: true });
  return outcome;
}

async function create(client: Client, turn: number): Promise<void> {
  const name = `${client.prefix}-${turn}`;
  const to = client.nextValue();
  client.names.add(name);
  const spec = sleeperSpec(name, { replicas: client.random.chance(0.3) ? 1 : 0, labels: { [valueLabel]: String(to) } });
  const calledAt = client.history.now();
  const outcome = await ask(client, `create ${name}`, (calls, options) => calls.createService({ spec }, options));
  note(client, name, calledAt, outcome, { kind: 'change', from: 'none', to, known: true });
  if (outcome.kind === 'done') client.own.set(name, outcome.answer!);
}

async function scale(client: Client, name: string): Promise<void> {
  const service = (await look(client))?.get(name);
  if (service === undefined) return;
  const replicas = client.random.between(0, 2);
  await update(client, service, { ...service.spec, mode: { kind: 'replicated', replicas } });
}

/** By name: whoever carries it out twice may meet a service that another made in between. */
async function remove(client: Client, name: string): Promise<void> {
  client.own.delete(name);
  const calledAt = client.history.now();
  const outcome = await ask(client, `remove ${name}`, (calls, options) =>
    calls.removeService({ object: name }, options),
  );
  note(client, name, calledAt, outcome, { kind: 'remove', known: true });
}

async function makeToken(client: Client, turn: number): Promise<void> {
  const label = `${client.prefix}-${turn}`;
  client.told.tokensAsked.add(label);
  const { kind } = await ask(client, `token ${label}`, (calls, options) =>
    calls.createJoinToken({ role: 'worker', expiresMs: 3_600_000, usesMax: 1, labels: { nemesis: label } }, options),
  );
  client.told.counts.changes += 1;
  if (kind === 'done') client.told.tokensMade.add(label);
  if (kind === 'refused') client.told.tokensAsked.delete(label);
}
