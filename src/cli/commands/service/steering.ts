/**
 * Updates under way and past: back to an earlier revision, paused, resumed, and the list of revisions.
 *
 * Not here: beginning an update (actions.ts), waiting for its end (wait.ts).
 */
import { CoveyError } from '../../../errors.js';
import type { Revision, Service } from '../../../gen/types.js';
import { parseInteger } from '../../../tasks/spec/values.js';
import type { CliContext } from '../../context.js';
import type { Invocation, OptionDefinition } from '../../definition.js';
import { type Flags, orBadValue } from '../../flags.js';
import { exitCodes } from '../../output/errors.js';
import { type ListView, printList } from '../../output/list.js';
import { renderAge, renderTime } from '../../output/values.js';
import { finish } from './finish.js';
import { updateOptions } from './options.js';

const steerings = ['rollback', 'pause', 'resume'] as const;
type Steering = (typeof steerings)[number];

/** Which of the flags of `service update` that change no spec is given. */
export function findSteering(flags: Flags): Steering | undefined {
  const given = steerings.filter(name => flags.isOn(name));
  const [first] = given;
  if (first === undefined) return undefined;
  const accepted = new Set<string>([first, ...['quiet', 'detach', 'timeout']]);
  const other = updateOptions.map(nameOf).find(name => !accepted.has(name) && flags.has(name));
  if (other !== undefined) throw new CoveyError('bad-argument', `Cannot use --${first} together with --${other}`);
  return first;
}

/** "quiet" of "-q, --quiet". */
function nameOf({ flags }: OptionDefinition): string {
  return /--([a-z-]+)/u.exec(flags)?.[1] ?? '';
}

interface Steer {
  readonly name: string;
  readonly steering: Steering;
  readonly flags: Flags;
  readonly startedMs: number;
}

export async function runSteering(context: CliContext, { name, steering, flags, startedMs }: Steer): Promise<number> {
  const { control } = await context.connect();
  const { signal } = context;
  if (steering === 'rollback') {
    const service = await control.rollbackService({ service: name, to: 0 }, { signal });
    return await finish(context, { flags, services: [service], startedMs });
  }
  const service = await control.holdUpdate({ service: name, paused: steering === 'pause' }, { signal });
  if (steering === 'resume') return await finish(context, { flags, services: [service], startedMs });
  await context.print(
    flags.isOn('quiet') ? service.id : `${service.spec.name} is paused: ${service.rollout?.message ?? ''}`,
  );
  return exitCodes.done;
}

export async function runRollback({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const startedMs = context.console.clock.monotonicMs();
  const { control } = await context.connect();
  const text = flags.text('to');
  const to = text === undefined ? 0 : orBadValue('--to', text, parseInteger(text, { min: 1, max: 0xffff_ffff }));
  const service = await control.rollbackService({ service: args[0] ?? '', to }, { signal: context.signal });
  return await finish(context, { flags, services: [service], startedMs });
}

export async function runHistory({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const { control } = await context.connect();
  const { revisions, service } = await control.listRevisions({ object: args[0] ?? '' }, { signal: context.signal });
  await printList(context, flags, { view: revisionView(service, context.console.clock.wallMs()), items: revisions });
  return exitCodes.done;
}

function revisionView(service: Service, nowMs: number): ListView<Revision> {
  const present = service.revision ?? 1;
  const stateOf = ({ number, stable }: Revision): string => {
    if (number === present) return service.rollout?.state ?? 'present';
    return stable ? 'stable' : '';
  };
  return {
    columns: [
      { header: 'REVISION', align: 'right' },
      { header: 'STATE' },
      { header: 'AGE' },
      { header: 'BY' },
      { header: 'IMAGE', cutTo: 16 },
      { header: 'CHANGES', cutTo: 20 },
    ],
    row: revision => [
      `${revision.number}${revision.number === present ? ' *' : ''}`,
      stateOf(revision),
      renderAge(nowMs - revision.meta.createdAtMs),
      revision.meta.owner,
      revision.spec.task.containers.map(container => container.image).join(', '),
      revision.changes.join(' · '),
    ],
    record: revision => ({
      revision: revision.number,
      present: revision.number === present,
      state: stateOf(revision),
      stable: revision.stable,
      createdAt: renderTime(revision.meta.createdAtMs),
      by: revision.meta.owner,
      image: revision.spec.task.containers[0]?.image ?? '',
      changes: [...revision.changes],
    }),
    id: revision => revision.id,
    name: revision => String(revision.number),
  };
}
