/**
 * From a name to a manifest, its config and its layers: asks one registry, walks through an index to the platform that is
 * wanted, and checks the digest of every document over exactly the bytes that came, before it reads them.
 *
 * Not here: layers (blob.ts), other places to ask (pull-sources.ts), what documents hold (oci.ts).
 */
import type { Buffer } from 'node:buffer';
import { CoveyError } from '../../../errors.js';
import { digestOf, wrongDigest } from '../archive.js';
import { parseJson, textAt } from '../json.js';
import {
  configMaxBytes,
  type Descriptor,
  type ImageConfig,
  isIndexType,
  isManifestType,
  type Manifest,
  manifestMaxBytes,
  mediaTypes,
  type Platform,
  parseConfig,
  parseIndex,
  parseManifest,
} from '../oci.js';
import { choosePlatform, platformFits, renderPlatform } from '../platform.js';
import { type Registry, readBody } from './client.js';
import type { HttpAnswer } from './transport.js';

export interface Resolved {
  /** Of what the name points to: the manifest, or the index above it. */
  readonly named: string;
  readonly manifest: { readonly digest: string; readonly bytes: Buffer; readonly parsed: Manifest };
  readonly config: { readonly digest: string; readonly bytes: Buffer; readonly parsed: ImageConfig };
}

export interface ResolveOptions {
  /** A tag or a digest. */
  readonly name: string;
  readonly platform: Platform;
  readonly signal: AbortSignal;
}

/** An index in an index is one too many only when another lies in it. */
const indexDepthMax = 2;
const accepted = [mediaTypes.index, mediaTypes.manifest, mediaTypes.dockerIndex, mediaTypes.dockerManifest].join(', ');
const schema1 = /^application\/vnd\.docker\.distribution\.manifest\.v1\+(?:json|prettyjws)$/;

/** The digest that a name has now, without the document; undefined when the registry does not say. */
export async function findDigest(registry: Registry, name: string, signal: AbortSignal): Promise<string | undefined> {
  const answer = await registry.ask({
    method: 'HEAD',
    path: `manifests/${name}`,
    headers: { accept: accepted },
    signal,
  });
  answer.discard();
  const digest = answer.header('docker-content-digest');
  return /^sha256:[0-9a-f]{64}$/.test(digest) ? digest : undefined;
}

export async function resolveImage(registry: Registry, options: ResolveOptions): Promise<Resolved> {
  const { signal, platform } = options;
  let document = await getDocument(registry, options.name, signal);
  const named = document.digest;
  for (let depth = 0; isIndexType(document.mediaType); depth += 1) {
    if (depth >= indexDepthMax)
      throw new CoveyError('registry-answer', `Cannot use "${named}": indexes lie more than ${indexDepthMax} deep`);
    const chosen = chooseManifest(registry, document, platform);
    document = await getDocument(registry, chosen.digest, signal);
    if (chosen.mediaType !== document.mediaType) throw wrongType(chosen.digest, chosen.mediaType, document.mediaType);
  }
  const { digest, bytes } = document;
  const parsed = parseManifest(`manifest ${digest}`, bytes.toString('utf8'));
  const config = await getConfig(registry, parsed, signal);
  checkConfig(registry, { config: config.parsed, manifest: parsed }, platform);
  return { named, manifest: { digest, bytes, parsed }, config };
}

interface Document {
  readonly digest: string;
  readonly mediaType: string;
  readonly bytes: Buffer;
}

async function getDocument(registry: Registry, name: string, signal: AbortSignal): Promise<Document> {
  const answer = await registry.ask({
    method: 'GET',
    path: `manifests/${name}`,
    headers: { accept: accepted },
    signal,
  });
  const what = `the manifest "${name}" of "${registry.endpoint.host}"`;
  const bytes = await readBody(answer, { what, maxBytes: manifestMaxBytes });
  const digest = digestOf(bytes);
  if (name.startsWith('sha256:') && digest !== name) throw wrongDigest(what, name, digest);
  const said = answer.header('docker-content-digest');
  if (said.startsWith('sha256:') && said !== digest) throw wrongDigest(what, said, digest);
  return { digest, bytes, mediaType: typeOf(what, answer, bytes) };
}

/** The header and the document have to say the same, so that all who read it take it for the same. */
function typeOf(what: string, answer: HttpAnswer, bytes: Buffer): string {
  const header = (answer.header('content-type').split(';')[0] ?? '').trim().toLowerCase();
  const place = parseJson(what, bytes.toString('utf8'));
  if (schema1.test(header) || place.value['schemaVersion'] === 1) {
    throw new CoveyError('registry-answer', `Cannot use ${what}: it has the old form "schema 1"`, {
      hint: 'push the image again with a tool of this decade',
    });
  }
  const own = textAt(place, 'mediaType') ?? '';
  const type = own === '' ? header : own;
  const isKnown = isIndexType(type) || isManifestType(type);
  const isGeneric = header === '' || header === 'application/json' || header === 'text/plain';
  if (own !== '' && !isGeneric && header !== own) throw wrongType(what, own, header);
  if (!isKnown) {
    throw new CoveyError('registry-answer', `Cannot use ${what}: it is no manifest of an image`, {
      state: `its type is "${type.slice(0, 100)}"`,
    });
  }
  return type;
}

function wrongType(what: string, wanted: string, found: string): CoveyError {
  return new CoveyError('registry-answer', `Cannot use ${what}: two types are named for it`, {
    state: `"${wanted}" and "${found.slice(0, 100)}"`,
  });
}

function chooseManifest({ endpoint }: Registry, index: Document, platform: Platform): Descriptor {
  const offered = parseIndex(`index ${index.digest}`, index.bytes.toString('utf8')).filter(
    ({ mediaType, annotations, platform: own }) =>
      (isIndexType(mediaType) || isManifestType(mediaType)) &&
      annotations['vnd.docker.reference.type'] === undefined &&
      own?.architecture !== 'unknown',
  );
  const chosen = choosePlatform(platform, offered);
  if (chosen !== undefined) return chosen;
  const there = offered.flatMap(({ platform: own }) => (own === undefined ? [] : [renderPlatform(own)]));
  throw new CoveyError(
    'image-platform',
    `Cannot use "${endpoint.repository}": no variant for ${renderPlatform(platform)}`,
    {
      state: `it has ${there.length === 0 ? 'none' : [...new Set(there)].join(', ')}`,
      hint: 'another platform may be named with --platform',
    },
  );
}

async function getConfig(registry: Registry, manifest: Manifest, signal: AbortSignal): Promise<Resolved['config']> {
  const { digest, sizeBytes } = manifest.config;
  const what = `the config ${digest}`;
  if (sizeBytes > configMaxBytes)
    throw new CoveyError('registry-answer', `Cannot read ${what}: ${sizeBytes} bytes are more than ${configMaxBytes}`);
  const answer = await registry.ask({ method: 'GET', path: `blobs/${digest}`, headers: {}, signal });
  const bytes = await readBody(answer, { what, maxBytes: sizeBytes });
  const found = digestOf(bytes);
  if (found !== digest) throw wrongDigest(what, digest, found);
  return { digest, bytes, parsed: parseConfig(what, bytes.toString('utf8')) };
}

function checkConfig(
  { endpoint }: Registry,
  { config, manifest }: { readonly config: ImageConfig; readonly manifest: Manifest },
  platform: Platform,
): void {
  const what = `"${endpoint.repository}"`;
  if (config.diffIds.length !== manifest.layers.length) {
    throw new CoveyError('registry-answer', `Cannot use ${what}: its documents do not fit`, {
      state: `the config names ${config.diffIds.length} layers, the manifest ${manifest.layers.length}`,
    });
  }
  if (config.platform.architecture === '' || platformFits(platform, config.platform)) return;
  throw new CoveyError('image-platform', `Cannot use ${what}: it is made for ${renderPlatform(config.platform)}`, {
    state: `wanted is ${renderPlatform(platform)}`,
    hint: `--platform ${renderPlatform(config.platform)} takes it nevertheless`,
  });
}
