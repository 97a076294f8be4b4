/**
 * A cluster of three managers and two workers under the nemesis. A round: things go wrong by plan while people work; all is
 * healed; the cluster comes to rest; then it is judged.
 *
 *     plan ──► faults ──┐
 *     clients ──► history ──► heal ──► settle ──► last looks ──► verdict, holders, adoption
 *
 * Called by nemesis.real.test.ts and `npm run torture -- nemesis`. Not here: what has to hold (invariants.ts, history.ts).
 */
import * as fs from 'node:fs';
import { messageOf } from '../../../src/errors.js';
import type { DevCluster } from '../dev-cluster.js';
import { look, pause, runClient, type Told } from './clients.js';
import { type Control, openControl } from './control.js';
import { type Faults, openFaults } from './faults.js';
import { History, renderHistory } from './history.js';
import { findViolations, type Running, runningOf, type Seen, type Sight, whatIsMissing } from './invariants.js';
import { describeFault, type Pace, type PlannedFault, planRound } from './plan.js';

export interface NemesisOptions {
  readonly cluster: DevCluster;
  readonly name: string;
  readonly seed: number;
  readonly pace: Pace;
  /** Without an answer from a node for so long, its tasks may be replaced. */
  readonly lostAfterMs: number;
  readonly settleMs: number;
  readonly clients: number;
}

export interface RoundOutcome {
  readonly problems: readonly string[];
  readonly plan: readonly PlannedFault[];
  readonly told: Told;
  readonly operations: number;
  /** From healing until all is as it is wanted, on all nodes. */
  readonly settledAfterMs: number;
  /** Histories of keys that could not have happened. */
  readonly evidence: string;
}

export interface Nemesis {
  readonly run: (round: number) => Promise<RoundOutcome>;
  readonly close: () => void;
}

const managers = 3;
const registers = ['register-1', 'register-2', 'register-3'];
const keptServices = ['web', 'look'];
const ticker = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.2; done'];

interface Stage extends NemesisOptions {
  readonly sight: Sight;
  readonly faults: Faults;
  readonly nextValue: () => number;
}

/** The services that stay from round to round are made here. */
export async function openNemesis(options: NemesisOptions): Promise<Nemesis> {
  const { cluster } = options;
  setUp(options);
  const faults = openFaults(options.name, cluster.nodes);
  const controls = cluster.nodes.slice(0, managers).map(({ socket }): Control => openControl(socket));
  let value = registers.length;
  const sight = { nodes: cluster.nodes, controls: controls.map(({ calls }) => calls), faults };
  const stage: Stage = { ...options, sight, faults, nextValue: () => ++value };
  return {
    run: round => runRound(stage, round),
    close: () => {
      for (const control of controls) control.close();
    },
  };
}

function setUp({ cluster, lostAfterMs }: NemesisOptions): void {
  cluster.must(1, 'network', 'create', 'inside');
  const common = ['--network', 'inside', '--lost-after', `${lostAfterMs}ms`];
  cluster.must(1, 'service', 'create', '--name', 'look', '--mode', 'global', ...common, 'hello:1', ...ticker);
  cluster.must(
    1,
    'service',
    'create',
    '--name',
    'web',
    '--replicas',
    '4',
    '-p',
    '8080:80',
    ...common,
    'hello:1',
    ...ticker,
  );
  for (const [at, name] of registers.entries())
    cluster.must(
      1,
      'service',
      'create',
      '-d',
      '--name',
      name,
      '--replicas',
      '0',
      '--label',
      `value=${at + 1}`,
      'hello:1',
    );
}

async function runRound(stage: Stage, round: number): Promise<RoundOutcome> {
  const { cluster, seed, pace, sight } = stage;
  const plan = planRound({ seed, round, nodes: cluster.nodes.map(({ index }) => index), managers, pace });
  const told: Told = {
    tokensAsked: new Set(),
    tokensMade: new Set(),
    problems: [],
    counts: { changes: 0, reads: 0, refused: 0, unknown: 0 },
  };
  const history = new History();
  const names = new Set<string>();
  const problems: string[] = [];
  let settledAfterMs = 0;
  try {
    const before = await settle(stage, 'before the round');
    const kept = runningOf(before, keptServices);
    const watched = { history, told, names, registers, unreached: () => undefined };
    for (const { spec } of before.services.services)
      if (registers.includes(spec.name))
        history.add(spec.name, { kind: 'change', from: 'none', to: Number(spec.labels['value']), known: true }, -2, -1);
    const outages = await disturb(stage, plan, { round, history, told, names });
    const healedMs = performance.now();
    const seen = await settle(stage, 'after healing');
    settledAfterMs = performance.now() - healedMs;
    for (const calls of sight.controls) await look({ ...watched, control: () => calls });
    problems.push(...(await findViolations(sight, seen)), ...findRecreated(stage, kept, { seen, outages }));
    problems.push(...(await countTokens(stage, told)));
    await cleanUp(stage, names);
  } catch (error) {
    problems.push(messageOf(error));
  }
  const verdict = history.judge();
  if (verdict.kind === 'illegal')
    problems.push(
      `the history of ${verdict.key} is not linearizable: ${verdict.longest.length} of ${verdict.operations}`,
    );
  const evidence = verdict.kind === 'illegal' ? renderHistory(history.operations, verdict.key) : '';
  problems.push(...told.problems);
  return { problems, plan, told, operations: history.length, settledAfterMs, evidence };
}

interface Work {
  readonly round: number;
  readonly history: History;
  readonly told: Told;
  readonly names: Set<string>;
}

/** When a node could not be heard, by its name; a node that lost power is noted with Infinity. */
type Outages = Map<string, [number, number][]>;

async function disturb(stage: Stage, plan: readonly PlannedFault[], work: Work): Promise<Outages> {
  const { cluster, faults, seed, nextValue } = stage;
  const ended = new AbortController();
  const clients = Array.from({ length: stage.clients }, (_, at) =>
    runClient(at + 1, {
      seed: seed * 1_000 + work.round,
      managers: cluster.nodes.slice(0, managers),
      registers,
      prefix: `n${work.round}`,
      nextValue,
      signal: ended.signal,
      ...work,
    }),
  );
  const outages: Outages = new Map();
  const outcomes = await Promise.allSettled(
    plan.map(async ({ atMs, forMs, fault }) => {
      await pause(atMs);
      const begunMs = performance.now();
      const end = await faults.begin(fault);
      await pause(forMs);
      await end();
      const until = fault.kind === 'power' ? Number.POSITIVE_INFINITY : performance.now();
      const nodes = fault.kind === 'cut' ? [...new Set(fault.links.flat())] : [fault.node];
      for (const node of nodes) {
        const { name } = cluster.node(node);
        outages.set(name, [...(outages.get(name) ?? []), [begunMs, until]]);
      }
    }),
  );
  // A little work on the healed cluster: whoever waits for its answer gets it.
  await pause(300);
  ended.abort();
  await Promise.all(clients);
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  for (const { index } of cluster.nodes) await faults.revive(index);
  return outages;
}

/** Resolves when nothing is missing any more; rejects with what still is. */
async function settle(stage: Stage, when: string): Promise<Seen> {
  const endMs = performance.now() + stage.settleMs;
  for (;;) {
    const { missing, seen } = await whatIsMissing(stage.sight);
    if (missing.length === 0 && seen !== undefined) return seen;
    if (performance.now() > endMs)
      throw new Error(`${when}, not settled within ${stage.settleMs} ms:\n  ${missing.join('\n  ')}`);
    await pause(200);
  }
}

/** Time without a word from its node that a task may be replaced after: gaps may be too short for a new session. */
const gapMs = 5_000;
const slackMs = 500;

function findRecreated(
  { lostAfterMs }: Stage,
  kept: ReadonlyMap<string, Running>,
  { seen, outages }: { readonly seen: Seen; readonly outages: Outages },
): readonly string[] {
  const now = runningOf(seen, keptServices);
  return [...kept].flatMap(([task, { node, service, process }]) => {
    const silentMs = longestSilence(outages.get(node) ?? []);
    const is = now.get(task);
    if (is?.process === process || silentMs === Number.POSITIVE_INFINITY) return [];
    if (is !== undefined)
      return [`${service} ${task} on ${node} was started anew: it was ${process}, is ${is.process}`];
    if (silentMs >= lostAfterMs - slackMs) return [];
    const ended = seen.tasks.find(({ id }) => id === task);
    const why =
      ended === undefined ? 'it is gone' : `${ended.status.state}: ${ended.status.message} ${ended.status.error}`;
    return [`${service} ${task} on ${node} was replaced, silent for ${Math.round(silentMs)} ms: ${why}`];
  });
}

function longestSilence(outages: readonly [number, number][]): number {
  let longest = 0;
  let [from, to] = [0, Number.NEGATIVE_INFINITY];
  for (const [begin, end] of [...outages].sort((a, b) => a[0] - b[0])) {
    if (begin > to + gapMs) from = begin;
    to = Math.max(to, end);
    longest = Math.max(longest, to - from);
  }
  return longest;
}

/** A token that was answered is there once; one that nobody knows about, at most once. */
async function countTokens({ sight }: Stage, told: Told): Promise<readonly string[]> {
  const signal = new AbortController().signal;
  const [calls] = sight.controls;
  const { tokens } = await calls!.listJoinTokens({}, { signal, timeoutMs: 10_000 });
  const counts = new Map<string, number>();
  for (const { id, labels } of tokens) {
    const label = labels['nemesis'];
    if (label === undefined) continue;
    counts.set(label, (counts.get(label) ?? 0) + 1);
    await calls!.removeJoinToken({ object: id }, { signal, timeoutMs: 10_000 });
  }
  return [
    ...[...told.tokensMade].filter(label => !counts.has(label)).map(label => `the token ${label} is lost`),
    ...[...counts]
      .filter(([, count]) => count > 1)
      .map(([label, count]) => `the token ${label} was made ${count} times`),
    ...[...counts.keys()]
      .filter(label => !told.tokensAsked.has(label))
      .map(label => `the token ${label} was refused, and is there`),
  ];
}

async function cleanUp({ sight }: Stage, names: ReadonlySet<string>): Promise<void> {
  const signal = new AbortController().signal;
  const [calls] = sight.controls;
  const { services } = await calls!.listServices({ objects: [], stack: '' }, { signal, timeoutMs: 10_000 });
  for (const { id, spec, removing } of services)
    if (names.has(spec.name) && !removing) await calls!.removeService({ object: id }, { signal, timeoutMs: 10_000 });
}

/** What a person needs to see it again. */
export function renderOutcome(seed: number, round: number, { problems, plan, told, evidence }: RoundOutcome): string {
  const lines = [
    `seed ${seed}, round ${round}: ${plan.map(describeFault).join('; ')}`,
    `asked: ${JSON.stringify(told.counts)}`,
    ...problems,
    ...(evidence === '' ? [] : ['history (called, returned, what):', evidence]),
  ];
  return lines.join('\n');
}

/** Keeps logs of the daemons beside what was seen. */
export function keepEvidence(cluster: DevCluster, folder: string, text: string): void {
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(`${folder}/outcome.txt`, text);
  for (const { log, name } of cluster.nodes) if (fs.existsSync(log)) fs.copyFileSync(log, `${folder}/${name}.log`);
}
