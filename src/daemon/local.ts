/**
 * The Local service: what a daemon answers about itself and its machine, with or without a cluster.
 *
 * Called through the unix socket only (rpc/local-server.ts). Not here: the flows of init, join and leave (membership/), the
 * image store (tasks/image), the service about the cluster (control.ts).
 */
import { CoveyError } from '../errors.js';
import type { Services } from '../gen/services.js';
import type {
  BulkData,
  Image,
  ImportImageRequest,
  ImportImageStart,
  InfoResponse,
  NodeDescription,
  UnlockRequest,
  UnlockResponse,
} from '../gen/types.js';
import type { Handlers } from '../grpc.js';
import { asId } from '../ids.js';
import type { ImageStore } from '../tasks/image/index.js';
import { version } from '../version.js';
import { joinHostPort } from './addresses.js';
import { defaultPort, type LogLevel, logLevels, type Settings } from './config.js';
import type { Doctor } from './doctor/doctor.js';
import { lockedError } from './keys/index.js';
import { imageHandlers } from './local-images.js';
import { localTaskHandlers } from './local-tasks.js';
import type { MemberNode } from './member-node.js';
import type { MembershipFlows } from './membership/index.js';
import { leavingOf, type RecoveryCalls } from './recovery.js';
import { type VolumeParts, volumeHandlers } from './volumes.js';

export interface LocalParts {
  readonly settings: Settings;
  readonly pid: number;
  readonly startedAtMs: number;
  readonly nodeVersion: string;
  readonly runtime: () => string;
  readonly images: ImageStore;
  readonly membership: MembershipFlows;
  readonly doctor: Doctor;
  readonly describe: (asked: {
    readonly advertiseAddress: string;
    readonly dataPathAddress: string;
  }) => Promise<NodeDescription>;
  /** What runs while this machine is a node. */
  readonly findNode: () => MemberNode | undefined;
  /** Ends the node's parts and undoes what they changed on the host; a line for each thing undone. */
  readonly dismantle: () => Promise<readonly string[]>;
  /** The images of this node changed: the managers place by them. */
  readonly imagesChanged: () => Promise<void>;
  readonly volumes: VolumeParts;
  readonly recovery: RecoveryCalls;
  /** Opens a locked manager. */
  readonly unlock: (request: UnlockRequest, signal: AbortSignal) => Promise<UnlockResponse>;
  readonly setLogLevel: (level: LogLevel) => void;
}

export function localHandlers(parts: LocalParts): Handlers<Services['Local']> {
  const { images, membership } = parts;
  return {
    init: (request, context) => membership.init(withSettings(request, parts.settings), context.signal),
    joinCluster: (request, context) => membership.join(withSettings(request, parts.settings), context.signal),
    leaveCluster: (request, context) => {
      const node = parts.findNode();
      if (node?.lock !== undefined && !request.force)
        throw lockedError(node.lock, 'Cannot leave: this manager is locked');
      const leaving = leavingOf(node, parts.dismantle);
      if (leaving === undefined) {
        throw new CoveyError('not-in-cluster', 'Cannot leave: this daemon is not a node of any cluster', {
          hint: 'covey init or covey join',
        });
      }
      return membership.leave(leaving, request, context.signal);
    },
    info: () => info(parts),
    doctor: async request =>
      request.changes
        ? { findings: [], changes: parts.doctor.changes() }
        : { findings: await parts.doctor.examine(), changes: parts.doctor.changes() },
    importImage: (requests, context) => importImage(parts, requests, context.signal),
    listImages: async () => ({ images: images.list() }),
    inspectImage: request => images.inspect(request.image),
    ...imageHandlers(parts),
    removeImage: async request => {
      const removed = await images.remove(request.image);
      await parts.imagesChanged();
      return removed;
    },
    ...volumeHandlers(parts.volumes),
    ...localTaskHandlers({ clock: parts.volumes.clock, findNode: parts.findNode }),
    ...parts.recovery,
    unlock: (request, { signal }) => parts.unlock(request, signal),
    setNodeAddress: async request => {
      const node = parts.findNode();
      if (node === undefined) throw new CoveyError('not-in-cluster', 'Cannot look for a manager: this is no node');
      const { nodeId, address } = node.setAddress({ ...request, portDefault: defaultPort });
      return { nodeId: asId(nodeId), address };
    },
    setLogLevel: async ({ level }) => {
      const known = logLevels.find(name => name === level);
      if (known === undefined)
        throw new CoveyError('bad-argument', `Cannot log at level "${level}"`, { hint: logLevels.join(', ') });
      parts.setLogLevel(known);
      return {};
    },
  };
}

/** What the request leaves open is taken from the daemon's settings. */
function withSettings<
  Request extends { readonly name: string; readonly advertiseAddress: string; readonly dataPathAddress: string },
>(request: Request, settings: Settings): Request {
  return {
    ...request,
    name: request.name === '' ? (settings.name ?? '') : request.name,
    advertiseAddress: request.advertiseAddress === '' ? (settings.advertiseAddress ?? '') : request.advertiseAddress,
    dataPathAddress: request.dataPathAddress === '' ? (settings.dataPathAddress ?? '') : request.dataPathAddress,
  };
}

async function info(parts: LocalParts): Promise<InfoResponse> {
  const { settings } = parts;
  const node = parts.findNode();
  const membership = node?.membership;
  return {
    version,
    inCluster: node !== undefined,
    clusterId: membership?.clusterId ?? asId(''),
    nodeId: membership?.nodeId ?? asId(''),
    nodeName: membership?.nodeName ?? settings.name ?? '',
    role: membership?.role ?? 'worker',
    leader: node?.isLeader() ?? false,
    connected: node?.isConnected() ?? false,
    managers: node?.managers() ?? [],
    description: await describeLeniently(parts, node),
    dataDir: settings.dataDir,
    runDir: settings.runDir,
    socket: settings.socket,
    pid: parts.pid,
    startedAtMs: parts.startedAtMs,
    prefix: settings.prefix,
    tasksRunning: node?.tasksRunning() ?? 0,
    runtime: parts.runtime(),
    listenAddress: joinHostPort(settings.listen.host, settings.listen.port),
    nodeVersion: parts.nodeVersion,
    counts: node?.counts(),
    lock: node?.lock,
  };
}

/** Info has to answer also where no address can be chosen. */
async function describeLeniently(parts: LocalParts, node: MemberNode | undefined): Promise<NodeDescription> {
  const asked = {
    advertiseAddress: node?.membership.advertiseAddress ?? parts.settings.advertiseAddress ?? '',
    dataPathAddress: node?.membership.dataPathAddress ?? parts.settings.dataPathAddress ?? '',
  };
  try {
    return await parts.describe(asked);
  } catch (error) {
    if (error instanceof CoveyError && error.code === 'bad-argument')
      return await parts.describe({ advertiseAddress: '127.0.0.1', dataPathAddress: '127.0.0.1' });
    throw error;
  }
}

async function* importImage(
  { images, imagesChanged }: Pick<LocalParts, 'images' | 'imagesChanged'>,
  requests: AsyncIterable<ImportImageRequest>,
  signal: AbortSignal,
): AsyncGenerator<{ readonly step: string; readonly bytes: number; readonly images: readonly Image[] }> {
  const iterator = requests[Symbol.asyncIterator]();
  const first = await iterator.next();
  if (first.done === true || first.value.body.kind !== 'start') {
    throw new CoveyError('bad-argument', 'Cannot import an image before its first message says what it is');
  }
  const start: ImportImageStart = first.value.body;
  yield* images.importImage(start, dataOf(iterator), signal);
  await imagesChanged();
}

async function* dataOf(iterator: AsyncIterator<ImportImageRequest>): AsyncGenerator<Uint8Array> {
  for (;;) {
    const next = await iterator.next();
    if (next.done === true) return;
    if (next.value.body.kind !== 'data')
      throw new CoveyError('bad-argument', 'Cannot take a second start of an import');
    const { data, eof }: BulkData = next.value.body;
    if (data.length > 0) yield data;
    if (eof) return;
  }
}
