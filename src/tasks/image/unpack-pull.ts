/**
 * The process that pulls one image: it resolves the name, and downloads and unpacks the layers that the store lacks, three
 * side by side, each unpacked while it comes. It may be killed at any line; the daemon throws its folder away. What is whole
 * when it fails, and the beginnings of blobs, are left for the next attempt.
 *
 * In its jail it has a network, because it has to; the tar that writes layers has none.
 *
 * Not here: the daemon's end (pull.ts), asking registries (registry/), one layer (unpack-layer.ts), imports (unpack-child.ts).
 */
import { join } from 'node:path';
import { CoveyError, codeOf, toProblem } from '../../errors.js';
import type { Descriptor, Platform } from './oci.js';
import { parsePlatform, platformOf } from './platform.js';
import { parseReference, renderName, withDefaultTag } from './reference.js';
import {
  findDigest,
  openRegistry,
  openTransport,
  type PatienceParts,
  patiently,
  type Registry,
  type Resolved,
  resolveImage,
} from './registry/index.js';
import {
  isNoSpace,
  makeDirectory,
  noSpace,
  openSpaceGuard,
  realPath,
  type SpaceGuard,
  sendLine,
  writeFile,
} from './unpack-io.js';
import {
  hexOf,
  type LayerProgress,
  type PullRequest,
  type UnpackKernel,
  type UnpackMessage,
} from './unpack-protocol.js';
import { pullLayer } from './unpack-pull-layer.js';

export interface Pull {
  readonly request: PullRequest;
  readonly kernel: UnpackKernel;
  readonly guard: SpaceGuard;
  readonly platform: Platform;
  readonly registries: readonly Registry[];
  /** How long to try at the place that is the last one to ask, and at one after which there are others. */
  readonly patience: (isLast: boolean) => PatienceParts;
  readonly layers: Map<string, LayerProgress>;
  /** Blobs whose beginning of an earlier time turned out to be wrong. */
  readonly spoiled: Set<string>;
  /** Tells the daemon, not too often. */
  readonly tell: (note?: string) => void;
  readonly signal: AbortSignal;
  /** Ends what is under way. */
  readonly stop: () => void;
}

const layersAtOnce = 3;
const tellEveryMs = 200;
/** Of a mirror that does not answer: the registry itself may. */
const mirrorGiveUpMs = 10_000;
const userAgent = 'covey';

export async function pullImage(request: PullRequest, kernel: UnpackKernel): Promise<UnpackMessage> {
  process.umask(0o022);
  for (const folder of ['blobs', 'layers', 'partial']) makeDirectory(join(request.work, folder), 0o700);
  const resolver = realPath('/etc/resolv.conf');
  kernel.enterJail(request.work, [request.layers, request.blobs, request.partial, resolver], { network: true });
  using transport = openTransport(request.proxy);
  const registries = request.endpoints.map(({ endpoint, tls }) =>
    openRegistry({ endpoint, tls, transport, clock: kernel.clock, userAgent }),
  );
  const pull = openPull({ request, kernel, registries });
  try {
    return await pullAll(pull);
  } catch (cause) {
    // Nothing is written any more: what is whole may be kept.
    kernel.syncFileSystem(request.work);
    return { kind: 'failure', problem: toProblem(isNoSpace(cause) ? noSpace(request.work, cause) : cause) };
  }
}

function openPull(parts: Pick<Pull, 'request' | 'kernel' | 'registries'>): Pull {
  const { request, kernel } = parts;
  const stop = new AbortController();
  const layers = new Map<string, LayerProgress>();
  let toldMs = Number.NEGATIVE_INFINITY;
  const tell = (note = ''): void => {
    const nowMs = kernel.clock.monotonicMs();
    if (note === '' && nowMs - toldMs < tellEveryMs) return;
    toldMs = nowMs;
    void sendLine({ kind: 'pulling', layers: [...layers.values()], note } satisfies UnpackMessage);
  };
  const giveUpMs = (isLast: boolean): number =>
    isLast ? request.limits.giveUpMs : Math.min(mirrorGiveUpMs, request.limits.giveUpMs);
  return {
    ...parts,
    guard: openSpaceGuard(request.work),
    platform: request.platform === '' ? platformOf(process.arch) : parsePlatform(request.platform),
    patience: isLast => ({
      clock: kernel.clock,
      random: kernel.random,
      limits: { ...request.limits, giveUpMs: giveUpMs(isLast) },
      onWait: tell,
    }),
    layers,
    spoiled: new Set(),
    tell,
    signal: stop.signal,
    stop: () => stop.abort(new CoveyError('cancelled', 'Cannot go on: another layer failed')),
  };
}

async function pullAll(pull: Pull): Promise<UnpackMessage> {
  const { request } = pull;
  const reference = withDefaultTag(parseReference(request.reference));
  const name = reference.digest ?? reference.tag ?? '';
  const current = await findCurrent(pull, name);
  if (current !== undefined) return { kind: 'current', digest: current };
  const { value: image, at } = await firstOf(pull, async registry =>
    resolveImage(registry, { name, platform: pull.platform, signal: pull.signal }),
  );
  const places = pull.registries.slice(at);
  const planned = planLayers(image);
  for (const { descriptor, diffId } of planned) {
    const isHere = request.hasLayers.includes(diffId) && request.hasBlobs.includes(descriptor.digest);
    const totalBytes = descriptor.sizeBytes;
    pull.layers.set(descriptor.digest, {
      digest: descriptor.digest,
      step: isHere ? 'here' : 'waiting',
      bytes: isHere ? totalBytes : 0,
      totalBytes,
    });
  }
  const missing = planned.filter(({ descriptor }) => pull.layers.get(descriptor.digest)?.step === 'waiting');
  checkSpace(pull, missing);
  pull.tell();
  await sideBySide(pull, missing, layer => pullLayer(pull, layer, places));
  return await finish(pull, { image, reference: { ...reference, name } });
}

interface PlannedPull {
  readonly descriptor: Descriptor;
  readonly diffId: string;
  readonly what: string;
}

/** A layer that an image has twice is pulled once. */
function planLayers({ manifest, config }: Resolved): readonly PlannedPull[] {
  const { layers } = manifest.parsed;
  const planned = layers.map((descriptor, at) => ({
    descriptor,
    diffId: config.parsed.diffIds[at] ?? '',
    what: `layer ${at + 1} of ${layers.length}`,
  }));
  return planned.filter(
    (layer, at) => planned.findIndex(other => other.descriptor.digest === layer.descriptor.digest) === at,
  );
}

/** What is known not to fit is not begun. */
function checkSpace({ guard, request }: Pull, missing: readonly PlannedPull[]): void {
  const wanted = missing.reduce((sum, { descriptor }) => sum + descriptor.sizeBytes, 0);
  if (wanted > guard.free()) throw noSpace(request.work);
}

/** The digest of the image that is here and that the name still means. */
async function findCurrent(pull: Pull, name: string): Promise<string | undefined> {
  const { current } = pull.request;
  if (current.length === 0) return undefined;
  try {
    const { value } = await firstOf(pull, async registry => await findDigest(registry, name, pull.signal));
    return value !== undefined && current.includes(value) ? value : undefined;
  } catch (error) {
    if (codeOf(error) === 'registry-answer') return undefined; // not all answer to HEAD
    throw error;
  }
}

/** Asks one place after the other. Of several failures the last is told: that of the registry itself. */
async function firstOf<Value>(
  pull: Pull,
  ask: (registry: Registry) => Promise<Value>,
): Promise<{ readonly value: Value; readonly at: number }> {
  for (const [at, registry] of pull.registries.entries()) {
    const isLast = at === pull.registries.length - 1;
    try {
      return { value: await patiently(pull.patience(isLast), pull.signal, () => ask(registry)), at };
    } catch (error) {
      if (isLast || pull.signal.aborted) throw error;
    }
  }
  throw new CoveyError('bug', `Cannot pull "${pull.request.reference}": there is no place to ask`);
}

/** The first failure ends the others; all have ended when this does. */
async function sideBySide(
  pull: Pull,
  layers: readonly PlannedPull[],
  work: (layer: PlannedPull) => Promise<void>,
): Promise<void> {
  const waiting = [...layers];
  const failures: unknown[] = [];
  const worker = async (): Promise<void> => {
    for (let layer = waiting.shift(); layer !== undefined && !pull.signal.aborted; layer = waiting.shift()) {
      try {
        await work(layer);
      } catch (error) {
        failures.push(error);
        pull.stop();
      }
    }
  };
  await Promise.all(Array.from({ length: layersAtOnce }, worker));
  if (failures.length > 0) throw failures[0];
}

async function finish(
  pull: Pull,
  {
    image,
    reference,
  }: { readonly image: Resolved; readonly reference: ReturnType<typeof parseReference> & { readonly name: string } },
): Promise<UnpackMessage> {
  const { request, kernel } = pull;
  const { manifest, config } = image;
  for (const { digest, bytes } of [manifest, config]) writeFile(join(request.work, 'blobs', hexOf(digest)), bytes);
  kernel.syncFileSystem(request.work);
  const layerBlobs = manifest.parsed.layers.map(({ digest }) => digest);
  const { diffIds } = config.parsed;
  return {
    kind: 'result',
    images: [
      {
        names: reference.digest === undefined ? [renderName(reference)] : [],
        digest: manifest.digest,
        config: config.digest,
        diffIds,
        layerBlobs,
        origins: [`${reference.registry}/${reference.repository}@${image.named}`],
      },
    ],
    blobs: [...new Set([manifest.digest, config.digest, ...layerBlobs])],
    layers: [...new Set(diffIds)],
  };
}
