/**
 * The end of every command that changed services: their ids, or waiting until the change runs.
 *
 * Called by actions.ts and steering.ts. Not here: waiting itself (wait.ts).
 */
import type { Service } from '../../../gen/types.js';
import type { CliContext } from '../../context.js';
import type { Flags } from '../../flags.js';
import { exitCodes } from '../../output/errors.js';
import { waitForServices } from '../../wait.js';

interface Finish {
  readonly flags: Flags;
  readonly services: readonly Service[];
  readonly startedMs: number;
}

/** Prints the ids, or waits. */
export async function finish(context: CliContext, { flags, services, startedMs }: Finish): Promise<number> {
  if (flags.isOn('quiet') || flags.isOn('detach')) for (const service of services) await context.print(service.id);
  if (flags.isOn('detach')) return exitCodes.done;
  const names = services.map(service => service.spec.name);
  const quiet: CliContext = flags.isOn('quiet')
    ? { ...context, isInteractive: false, print: async () => undefined }
    : context;
  return await waitForServices(quiet, {
    request: {
      tables: ['task', 'service', 'node'],
      service: services.length === 1 ? (services[0]?.id ?? '') : '',
      stack: '',
    },
    what: `service "${names.join('", "')}"`,
    look: `covey service ps ${names.join(' ')}`,
    flags,
    startedMs,
    services,
  });
}
