/**
 * A daemon's half of a node in a process of its own that ends itself with SIGKILL at one step of its work: opens over given
 * directories, is told a set of tasks, and dies where it was asked to. Without a step it says all effects that it had, until
 * the tasks are as they are meant to be. Argument: a JSON text with ChildWork.
 */
import type { Task } from '../../src/gen/types.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { type Fault, injectFaults } from './faults.js';
import { fullSet, openWhole, type WholePlace } from './whole.js';

export interface ChildWork {
  readonly place: WholePlace;
  readonly tasks: readonly Task[];
  /** A pattern of effects; the process dies after (or before) the `nth` that matches. */
  readonly step?: { readonly pattern: string; readonly when: 'before' | 'after'; readonly nth: number };
}

const { place, tasks, step } = JSON.parse(process.argv[2] ?? '{}') as ChildWork;
setInterval(() => undefined, 1_000); // nothing of an agent keeps a process alive
const pattern = new RegExp(step?.pattern ?? '$^');
let armed = false;
let matched = 0;
const die = (): void => void process.kill(process.pid, 'SIGKILL');

const fault: Fault = {
  around: (effect, work) => {
    if (!armed) return work();
    if (step === undefined) process.stdout.write(`${effect}\n`);
    if (!pattern.test(effect) || ++matched !== (step?.nth ?? 1)) return work();
    if (step?.when === 'before') die();
    let pending = false;
    try {
      const result = work();
      pending = result instanceof Promise;
      return result instanceof Promise ? (result.finally(die) as typeof result) : result;
    } finally {
      if (!pending) die();
    }
  },
};

const whole = await openWhole(place, injectFaults(linuxHost, fault, place.directory));
armed = true;
await whole.agent.assign(fullSet(tasks));
const settled = (): boolean =>
  tasks.length === 0
    ? whole.agent.reports().length === 0
    : tasks.every(({ id }) => ['running', 'failed', 'rejected'].includes(whole.status(id)?.state ?? ''));
while (!settled()) await new Promise(resolve => setTimeout(resolve, 5));
process.exit(0);
