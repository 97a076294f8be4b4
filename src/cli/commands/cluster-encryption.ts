/**
 * The waiting of `covey cluster update --encrypt` and `--rotate-tunnel-keys`: until all nodes that are there send with the keys
 * that were asked for, with who is still missing.
 *
 * Not here: how it goes (daemon/encryption/plan.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Cluster, Node } from '../../gen/types.js';
import type { CliContext } from '../context.js';
import type { Flags } from '../flags.js';
import { exitCodes } from '../output/errors.js';
import { openLive } from '../output/live.js';
import { plural, renderDuration } from '../output/values.js';

const lookEveryMs = 300;
const namedMax = 5;

export async function waitForEncryption(context: CliContext, flags: Flags, asked: Cluster): Promise<number> {
  const { clock, stdout } = context.console;
  const live = context.isInteractive ? openLive(stdout, clock) : undefined;
  const timeoutMs = flags.durationMs('timeout');
  const endMs = timeoutMs === undefined ? undefined : clock.monotonicMs() + timeoutMs;
  const { control } = await context.connect();
  const call = { signal: context.signal };
  let told = '';
  try {
    for (let cluster = asked; ; cluster = await control.getCluster({}, call)) {
      if (isSettled(cluster)) break;
      const { nodes } = await control.listNodes({ objects: [], stack: '' }, call);
      const text = describeWaiting(cluster, nodes);
      live?.show([text]);
      if (live === undefined && text !== told) await context.note(text);
      told = text;
      if (endMs !== undefined && clock.monotonicMs() > endMs) {
        throw new CoveyError('timeout', 'Cannot wait longer for the tunnels', {
          state: `${text} after ${renderDuration(timeoutMs ?? 0)}`,
          hint: 'it goes on: covey cluster inspect',
        });
      }
      await clock.sleep(lookEveryMs, context.signal);
    }
  } catch (error) {
    await live?.end();
    if (!context.signal.aborted) throw error;
    await context.note('The change goes on: covey cluster inspect');
    return exitCodes.interrupted;
  }
  await live?.end([]);
  return exitCodes.done;
}

/** Sends with what was asked for, and with nothing else. */
function isSettled({ spec, encryption }: Cluster): boolean {
  if (encryption === undefined) return spec.encrypt !== true;
  if (spec.encrypt !== true) return encryption.epochs.length === 0;
  return encryption.active > 0 && encryption.epochs.length === 1 && encryption.askedMs === undefined;
}

function describeWaiting({ encryption }: Cluster, nodes: readonly Node[]): string {
  const step = encryption?.step ?? 0;
  const able = nodes.filter(
    ({ status, description: { tunnel } }) =>
      status.state === 'ready' && tunnel !== undefined && tunnel.means !== 'none',
  );
  const missing = able.filter(({ description: { tunnel } }) => (tunnel?.step ?? 0) < step);
  const counted = `step ${step}: ${able.length - missing.length} of ${plural(able.length, 'node')} have taken it`;
  if (missing.length === 0) return counted;
  const more = missing.length > namedMax ? ` and ${missing.length - namedMax} more` : '';
  const names = missing.slice(0, namedMax).map(({ spec }) => spec.name);
  return `${counted}; waits for ${names.join(', ')}${more}`;
}
