/**
 * What changes from one spec to another, in words: "image web:1 -> web:2", "2 -> 3 replicas".
 *
 * Pure. Called by stack-plan.ts. Not here: what follows from a change (services.ts).
 */
import type { ContainerSpec, PortSpec, ServiceSpec, TaskSpec, UpdateConfig } from '../../gen/types.js';
import { replacesTasks } from '../orchestrate/spec-change.js';
import { isSame } from './same.js';

export function describeService({ mode, task }: ServiceSpec): readonly string[] {
  const images = task.containers.map(({ image }) => image).join(', ');
  switch (mode.kind) {
    case 'replicated':
      return [`${count(mode.replicas, 'replica')} of ${images}`];
    case 'global':
      return [`on every node, ${images}`];
    case 'replicatedJob':
      return [`${count(mode.completions, 'completion')} of ${images}`];
    case 'globalJob':
      return [`once on every node, ${images}`];
  }
}

export function describeChange(old: ServiceSpec, spec: ServiceSpec): readonly string[] {
  const rolls = replacesTasks(old, spec);
  return [...describeSpecChange(old, spec), ...(rolls ? [describeUpdate(spec.update)] : [])];
}

/** The same without what follows from it. */
export function describeSpecChange(old: ServiceSpec, spec: ServiceSpec): readonly string[] {
  return [
    ...describeMode(old, spec),
    ...describeTask(old.task, spec.task),
    ...describeList('port', old.ports.map(renderPort), spec.ports.map(renderPort)),
    ...(isSame(old.labels, spec.labels) ? [] : ['labels changed']),
    ...(old.endpointMode === spec.endpointMode ? [] : [`endpoint mode ${old.endpointMode} -> ${spec.endpointMode}`]),
    ...(['update', 'rollback'] as const).flatMap(key => (isSame(old[key], spec[key]) ? [] : [`${key} config changed`])),
    ...(isSame(old.loss, spec.loss) ? [] : ['loss policy changed']),
  ];
}

function describeUpdate(config: UpdateConfig | undefined): string {
  const { parallelism = 1, order = 'stop-first', failureAction = 'pause' } = config ?? {};
  const words = [parallelism === 0 ? 'all at once' : `${parallelism} at a time`, order.replace('-', ' ')];
  if (failureAction === 'rollback') words.push('back after too many failures');
  if (failureAction === 'continue') words.push('whatever fails');
  return `update ${words.join(', ')}`;
}

function describeMode({ mode: old }: ServiceSpec, { mode }: ServiceSpec): readonly string[] {
  if (old.kind === 'replicatedJob' && mode.kind === 'replicatedJob') {
    const words = [];
    if (old.completions !== mode.completions)
      words.push(`${old.completions} -> ${count(mode.completions, 'completion')}`);
    if (old.concurrentMax !== mode.concurrentMax)
      words.push(`${old.concurrentMax || 'all'} -> ${mode.concurrentMax || 'all'} at a time`);
    return words;
  }
  if (old.kind !== 'replicated' || mode.kind !== 'replicated' || old.replicas === mode.replicas) return [];
  return [`${old.replicas} -> ${count(mode.replicas, 'replica')}`];
}

function describeTask(old: TaskSpec, task: TaskSpec): readonly string[] {
  const words = task.containers.flatMap((container, at) => {
    const before = old.containers[at];
    return before === undefined
      ? [`container ${container.name || container.image} new`]
      : describeContainer(before, container);
  });
  for (const gone of old.containers.slice(task.containers.length))
    words.push(`container ${gone.name || gone.image} removed`);
  const parts = ['limits', 'reservations', 'restart', 'placement', 'networks', 'runtime'] as const;
  const changed = parts.filter(part => !isSame(old[part], task[part]));
  if (changed.length > 0) words.push(`${changed.join(', ')} changed`);
  if (old.force !== task.force) words.push('forced');
  return words;
}

/** Parts of a container that have words of their own. */
const spoken = ['image', 'env', 'secrets', 'configs'];

function describeContainer(old: ContainerSpec, container: ContainerSpec): readonly string[] {
  const words: string[] = [];
  if (old.image !== container.image) words.push(`image ${old.image} -> ${container.image}`);
  words.push(...describeEnvironment(old.env, container.env));
  for (const kind of ['secrets', 'configs'] as const) {
    if (!isSame(old[kind], container[kind])) words.push(`${kind} changed`);
  }
  const others = Object.keys({ ...old, ...container }).filter(
    key => !spoken.includes(key) && !isSame(Reflect.get(old, key), Reflect.get(container, key)),
  );
  if (others.length > 0) words.push(`${others.map(spaced).join(', ')} changed`);
  return words;
}

/** Names only: values may be confidential. */
function describeEnvironment(old: readonly string[], env: readonly string[]): readonly string[] {
  const before = new Map(old.map(split));
  const after = new Map(env.map(split));
  const words = [
    ...[...after.keys()].filter(name => !before.has(name)).map(name => `+${name}`),
    ...[...after].filter(([name, value]) => before.has(name) && before.get(name) !== value).map(([name]) => `~${name}`),
    ...[...before.keys()].filter(name => !after.has(name)).map(name => `-${name}`),
  ];
  return words.length === 0 ? [] : [`environment ${words.join(' ')}`];
}

function split(text: string): readonly [string, string] {
  const at = text.indexOf('=');
  return [text.slice(0, at), text.slice(at + 1)];
}

function describeList(noun: string, old: readonly string[], present: readonly string[]): readonly string[] {
  return [
    ...present.filter(text => !old.includes(text)).map(text => `${noun} ${text} new`),
    ...old.filter(text => !present.includes(text)).map(text => `${noun} ${text} removed`),
  ];
}

function renderPort({ published, target, protocol, mode }: PortSpec): string {
  const from = published === 0 ? '' : `${published}:`;
  return `${from}${target}/${protocol}${mode === 'host' ? ' on the host' : ''}`;
}

function spaced(key: string): string {
  return key.replace(/[A-Z]/g, letter => ` ${letter.toLowerCase()}`);
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
