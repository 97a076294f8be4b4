/**
 * Holds all processes of a task still, and lets them go: freezer.state where version 1 has the controller, cgroup.freeze
 * elsewhere. The kernel is the memory of it: a restarted daemon reads from there what is paused.
 *
 * Keeps true: who waits for a task to be awake (a health check) never judges it by an answer from before, during or across a
 * pause.
 *
 * Not here: who may ask for it (verbs.ts), what is told of it (verb-actions.ts).
 */
import type { Clock, Host } from '../../host.js';

export interface Freezer {
  /** Asks for it; true once all stand still. Again until it is, because version 1 may miss a process that forks. */
  readonly freeze: (taskId: string) => boolean;
  /** Nothing when it is awake. */
  readonly thaw: (taskId: string) => void;
  readonly isFrozen: (taskId: string) => boolean;
  /** How often it was frozen since the daemon started. */
  readonly count: (taskId: string) => number;
}

type FreezerHost = Pick<Host, 'files'>;

/** Where the groups of tasks are, and in which words they are asked. */
interface Words {
  readonly file: string;
  readonly freeze: string;
  readonly thaw: string;
  /** undefined: no such group. */
  readonly look: (group: string) => 'frozen' | 'freezing' | 'thawed' | undefined;
}

export function openFreezer(host: FreezerHost, options: { readonly mounts: string; readonly parent: string }): Freezer {
  const v1 = findMount(options.mounts, 'cgroup', 'freezer');
  const mount = v1 ?? findMount(options.mounts, 'cgroup2', undefined) ?? '/sys/fs/cgroup';
  const words = v1 === undefined ? wordsOfV2(host) : wordsOfV1(host);
  const counts = new Map<string, number>();
  const groupOf = (taskId: string): string => `${mount}${options.parent}/${taskId}`;
  return {
    freeze: taskId => {
      const group = groupOf(taskId);
      if (words.look(group) === 'thawed') counts.set(taskId, (counts.get(taskId) ?? 0) + 1);
      host.files.writeSync(`${group}/${words.file}`, words.freeze);
      return words.look(group) === 'frozen';
    },
    thaw: taskId => {
      const group = groupOf(taskId);
      const state = words.look(group);
      if (state !== undefined && state !== 'thawed') host.files.writeSync(`${group}/${words.file}`, words.thaw);
    },
    isFrozen: taskId => {
      const state = words.look(groupOf(taskId));
      return state === 'frozen' || state === 'freezing';
    },
    count: taskId => counts.get(taskId) ?? 0,
  };
}

function findMount(mounts: string, type: string, option: string | undefined): string | undefined {
  for (const line of mounts.split('\n')) {
    const [, path = '', kind, options = ''] = line.split(' ');
    if (kind !== type || !path.startsWith('/sys/fs/cgroup')) continue;
    if (option === undefined || options.split(',').includes(option)) return path;
  }
  return undefined;
}

function wordsOfV1(host: FreezerHost): Words {
  return {
    file: 'freezer.state',
    freeze: 'FROZEN',
    thaw: 'THAWED',
    look: group => {
      const text = host.files.findTextSync(`${group}/freezer.state`)?.trim();
      if (text === undefined) return undefined;
      return text === 'FROZEN' ? 'frozen' : text === 'FREEZING' ? 'freezing' : 'thawed';
    },
  };
}

function wordsOfV2(host: FreezerHost): Words {
  return {
    file: 'cgroup.freeze',
    freeze: '1',
    thaw: '0',
    look: group => {
      const asked = host.files.findTextSync(`${group}/cgroup.freeze`)?.trim();
      if (asked === undefined) return undefined;
      if (asked !== '1') return 'thawed';
      return /^frozen 1$/m.test(host.files.findTextSync(`${group}/cgroup.events`) ?? '') ? 'frozen' : 'freezing';
    },
  };
}

const awakeLookMs = 250;

/** Asks a question that processes of the task have to answer, while it is awake from beginning to end. */
export async function askAwake<Answer>(
  engine: { readonly freezer: Freezer; readonly clock: Clock },
  taskId: string,
  question: { readonly ask: () => Promise<Answer>; readonly signal: AbortSignal },
): Promise<Answer> {
  const { freezer, clock } = engine;
  for (;;) {
    while (freezer.isFrozen(taskId)) await clock.sleep(awakeLookMs, question.signal);
    const before = freezer.count(taskId);
    const answer = await question.ask();
    if (freezer.count(taskId) === before) return answer;
  }
}
