/**
 * `covey cluster inspect` and `covey cluster update`: settings of the whole cluster, under Docker's names where it has them.
 *
 * Not here: the root certificate (cluster-ca.ts), what single nodes and services have of their own (node.ts, service/).
 */
import { CoveyError } from '../../errors.js';
import type { Cluster } from '../../gen/types.js';
import type { CliContext } from '../context.js';
import { type CommandDefinition, formatOption, type Invocation, readOptions, waitOptions } from '../definition.js';
import type { Flags } from '../flags.js';
import { exitCodes } from '../output/errors.js';
import type { JsonRecord } from '../output/format.js';
import { printInspection } from '../output/list.js';
import { renderTime } from '../output/values.js';
import { waitForEncryption } from './cluster-encryption.js';
import { showKey } from './cluster-lock.js';

export const clusterSettingsCommands: readonly CommandDefinition[] = [
  {
    path: ['cluster', 'inspect'],
    says: 'Show the settings of the cluster',
    args: [],
    options: [formatOption, ...readOptions],
    examples: [
      { says: 'all of them', line: 'covey cluster inspect' },
      { says: 'how long certificates live', line: "covey cluster inspect --format '{{.certificateDays}}'" },
    ],
    run: runInspect,
  },
  {
    path: ['cluster', 'update'],
    says: 'Change settings of the cluster',
    about:
      'With autolock, a manager that starts waits for the unlock key: its log, and the key by which it proves who it is, can be read with nothing that lies on its disk. Containers run on meanwhile. Turned off, the key is forgotten, and managers start by themselves.',
    args: [],
    options: [
      {
        flags: '--cert-expiry <duration>',
        says: 'Life of the certificates of nodes from their next renewal on (days)',
      },
      {
        flags: '--cert-grace <duration>',
        says: 'A node whose certificate has ended comes back by itself for so long (days; 0: not at all)',
      },
      { flags: '--heartbeat <duration>', says: 'Time between two heartbeats of a node with the link lan' },
      { flags: '--lost-after <duration>', says: 'A node that is silent this long is lost' },
      { flags: '--encrypt', says: 'Traffic of containers between nodes is encrypted; --encrypt=false: it is not' },
      { flags: '--encrypt-rotate <duration>', says: 'Its keys are replaced after so long (default 30d)' },
      { flags: '--rotate-tunnel-keys', says: 'Replace its keys now' },
      { flags: '--autolock', says: 'Managers need an unlock key when they start; --autolock=false: they do not' },
      ...waitOptions,
    ],
    examples: [
      { says: 'certificates for a year', line: 'covey cluster update --cert-expiry 365d' },
      {
        says: 'machines that are off for half a year come back by themselves',
        line: 'covey cluster update --cert-grace 180d',
      },
      { says: 'encrypt what goes between nodes', line: 'covey cluster update --encrypt=true' },
      { says: 'from now on managers have to be unlocked', line: 'covey cluster update --autolock=true' },
    ],
    run: runUpdate,
  },
];

const dayMs = 86_400_000;

/** 90 where nobody has said another. */
const graceDaysDefault = 90;
const rotateDefaultMs = 30 * dayMs;

function clusterRecord({ id, meta, spec, group, authority, unlock, encryption }: Cluster): JsonRecord {
  return {
    id,
    certificateDays: spec.certificateDays,
    certificateGraceDays: spec.certificateGraceDays ?? graceDaysDefault,
    heartbeatMs: spec.heartbeatMs,
    lostAfterMs: spec.lostAfterMs,
    pool: spec.pool,
    dataPort: spec.dataPort,
    autolock: unlock !== undefined,
    encrypt: spec.encrypt === true,
    encryptRotateMs: spec.encryptRotateMs ?? rotateDefaultMs,
    encrypted: (encryption?.active ?? 0) > 0,
    tunnelKeys: encryption?.active ?? 0,
    tunnelKeysSince: encryption === undefined || encryption.active === 0 ? '' : renderTime(encryption.sinceMs),
    rootRotating: authority?.rotation !== undefined,
    groupGeneration: group?.generation ?? 0,
    version: meta.version,
    createdAt: renderTime(meta.createdAtMs),
    updatedAt: renderTime(meta.updatedAtMs),
  };
}

async function runInspect({ flags }: Invocation, context: CliContext): Promise<number> {
  const { control } = await context.connect();
  const cluster = await control.getCluster({}, { signal: context.signal });
  await printInspection(context, flags, [{ record: clusterRecord(cluster), name: cluster.id }]);
  return exitCodes.done;
}

async function runUpdate({ flags }: Invocation, context: CliContext): Promise<number> {
  const request = {
    certificateDays: wholeDays(flags, 'cert-expiry'),
    certificateGraceDays: wholeDays(flags, 'cert-grace'),
    heartbeatMs: flags.durationMs('heartbeat'),
    lostAfterMs: flags.durationMs('lost-after'),
    autolock: flags.onOff('autolock'),
    encrypt: flags.onOff('encrypt'),
    encryptRotateMs: flags.durationMs('encrypt-rotate'),
    rotateTunnelKeys: flags.isOn('rotate-tunnel-keys') ? true : undefined,
  };
  if (Object.values(request).every(value => value === undefined)) {
    throw new CoveyError('bad-argument', 'Cannot update the cluster without a change', {
      hint: '--cert-expiry, --cert-grace, --heartbeat, --lost-after, --autolock=true or --encrypt=true',
    });
  }
  const { control } = await context.connect();
  const cluster = await control.updateCluster(request, { signal: context.signal });
  if (request.autolock === true) return await showKey(context, flags, 'Managers need this key when they start:');
  if ((request.encrypt !== undefined || request.rotateTunnelKeys === true) && !flags.isOn('detach')) {
    const code = await waitForEncryption(context, flags, cluster);
    if (code !== exitCodes.done) return code;
  }
  await context.print(cluster.id);
  return exitCodes.done;
}

/** As Docker takes it in hours, and as it is kept in days. */
function wholeDays(flags: Flags, name: string): number | undefined {
  const ms = flags.durationMs(name);
  if (ms === undefined || ms % dayMs === 0) return ms === undefined ? undefined : ms / dayMs;
  throw new CoveyError('bad-argument', `Cannot use "${flags.text(name)}" for --${name}`, {
    hint: 'give whole days: 90d, or 2160h',
  });
}
