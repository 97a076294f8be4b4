/**
 * What people ask about the volumes of this node: part of the Local service.
 *
 * Usage is waited for a short time only: a walk through a large volume goes on behind, and the next look has its result.
 *
 * Not here: the volumes (tasks/volumes.ts), measuring them (tasks/volume-usage.ts).
 */
import { CoveyError } from '../errors.js';
import type { Services } from '../gen/services.js';
import type { BulkFrame, Volume, VolumesStart, VolumeUsage } from '../gen/types.js';
import type { Handlers } from '../grpc.js';
import type { Clock } from '../host.js';
import { asId, type TaskId } from '../ids.js';
import type { UsageMeter } from '../tasks/volume-usage.js';
import type { KeptVolume, Volumes } from '../tasks/volumes.js';

export interface VolumeParts {
  readonly volumes: Volumes;
  readonly meter: UsageMeter;
  readonly clock: Clock;
  /** Which volumes there are changed: the managers place by them. */
  readonly changed: () => Promise<void>;
}

type VolumeMethods = 'createVolume' | 'listVolumes' | 'removeVolume';

const usageWaitMs = 2_000;
const labelsMax = 64;

export function volumeHandlers(parts: VolumeParts): Pick<Handlers<Services['Local']>, VolumeMethods> {
  const { volumes } = parts;
  return {
    createVolume: async ({ name, options, labels }) => {
      const unknown = Object.keys(options).find(key => !['type', 'device', 'o'].includes(key));
      if (unknown !== undefined || Object.keys(labels).length > labelsMax) {
        throw new CoveyError('bad-argument', `Cannot make volume "${name}" with ${unknown ?? 'so many labels'}`, {
          hint: `the options type, device and o, and at most ${labelsMax} labels`,
        });
      }
      await volumes.create({ name, options, labels });
      await parts.changed();
      return await describe(parts, await find(volumes, name), { usage: false });
    },
    listVolumes: async ({ names, usage }) => {
      const all = await volumes.list();
      const asked = names.length === 0 ? all : await Promise.all(names.map(name => find(volumes, name)));
      return { volumes: await Promise.all(asked.map(volume => describe(parts, volume, { usage }))) };
    },
    removeVolume: async ({ name }) => {
      await volumes.remove(name);
      await parts.changed();
      return {};
    },
  };
}

/** What a manager asks for people on other nodes: nothing but the names that are here. */
export async function* askVolumes(parts: VolumeParts, start: VolumesStart): AsyncGenerator<BulkFrame> {
  const named = (await parts.volumes.list()).filter(
    ({ name }) => start.names.length === 0 || start.names.includes(name),
  );
  const seen: Volume[] = [];
  let problem: unknown;
  for (const volume of named) {
    try {
      const described = await describe(parts, volume, { usage: start.usage });
      if (start.remove && start.names.length > 0) await parts.volumes.remove(volume.name);
      seen.push(described);
    } catch (error) {
      problem = error;
      break;
    }
  }
  if (start.remove && seen.length > 0) await parts.changed();
  yield { body: { kind: 'seen', volumes: seen } };
  if (problem !== undefined) throw problem;
}

async function find(volumes: Volumes, name: string): Promise<KeptVolume> {
  const found = (await volumes.list()).find(volume => volume.name === name);
  if (found !== undefined) return found;
  throw new CoveyError('not-found', `Cannot find volume "${name}" on this node`, { hint: 'covey volume ls' });
}

async function describe(
  { meter, clock }: VolumeParts,
  volume: KeptVolume,
  { usage }: { readonly usage: boolean },
): Promise<Volume> {
  const { name, path, options, labels, createdAtMs, isAnonymous, isMounted, users } = volume;
  const space = await meter.space(path);
  // What is not mounted shows the directory below, which holds nothing.
  const isMeasured = usage && (isMounted || Object.keys(options).length === 0);
  return {
    name,
    path,
    options,
    labels,
    createdAtMs,
    anonymous: isAnonymous,
    mounted: isMounted,
    taskIds: users.map(id => asId<TaskId>(id)),
    usage: isMeasured ? await inTime(clock, meter.measure({ name, path, isMounted })) : undefined,
    freeBytes: space.freeBytes,
    freeInodes: space.freeInodes,
  };
}

function inTime(clock: Clock, usage: Promise<VolumeUsage | undefined>): Promise<VolumeUsage | undefined> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(usageWaitMs, () => resolve(undefined));
    usage.then(resolve, reject).finally(() => timer.cancel());
  });
}
