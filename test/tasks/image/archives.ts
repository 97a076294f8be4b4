/**
 * Archives for tests: tar entries of any shape, also those that no honest program writes, and images in the forms of
 * `docker save` and of OCI around them.
 */
import { createHash } from 'node:crypto';

/** Fields that are left out are those of an ordinary file of root. */
export interface RawEntry {
  readonly path: string;
  readonly type?: string;
  readonly target?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly data?: string | Uint8Array;
  /** Instead of the length of the data. */
  readonly size?: number;
  readonly major?: number;
  readonly minor?: number;
  /** Written as a pax header before the entry. */
  readonly pax?: Readonly<Record<string, string | Uint8Array>>;
}

export const endMark = Buffer.alloc(1024);

/** A whole archive, with its end mark. */
export function tarOf(entries: readonly RawEntry[]): Buffer {
  return Buffer.concat([...entries.map(rawEntry), endMark]);
}

export function rawEntry(entry: RawEntry): Buffer {
  const data = Buffer.from(entry.data ?? '');
  const head = entry.pax === undefined ? [] : [rawEntry({ path: 'pax', type: 'x', data: paxOf(entry.pax) })];
  return Buffer.concat([
    ...head,
    block(entry, entry.size ?? data.length),
    data,
    Buffer.alloc((512 - (data.length % 512)) % 512),
  ]);
}

export function paxOf(records: Readonly<Record<string, string | Uint8Array>>): Buffer {
  return Buffer.concat(
    Object.entries(records).map(([key, value]) => {
      const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from('\n')]);
      let length = rest.length + 1;
      while (String(length).length + rest.length !== length) length += 1;
      return Buffer.concat([Buffer.from(String(length)), rest]);
    }),
  );
}

function block(entry: RawEntry, size: number): Buffer {
  const made = Buffer.alloc(512);
  made.write(entry.path, 0, 100, 'utf8');
  made.write(octal(entry.mode ?? 0o644, 7), 100);
  made.write(octal(entry.uid ?? 0, 7), 108);
  made.write(octal(entry.gid ?? 0, 7), 116);
  made.write(octal(size, 11), 124);
  made.write(octal(entry.mtime ?? 1_700_000_000, 11), 136);
  made.write(entry.type ?? '0', 156);
  made.write(entry.target ?? '', 157, 100, 'utf8');
  made.write('ustar\x0000', 257, 'latin1');
  made.write(octal(entry.major ?? 0, 7), 329);
  made.write(octal(entry.minor ?? 0, 7), 337);
  return withSum(made);
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, '0');
}

export function withSum(header: Buffer): Buffer {
  header.fill(32, 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${octal(sum, 6)}\0 `, 148, 'latin1');
  return header;
}

export function sha256(bytes: string | Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export interface ImageParts {
  /** Uncompressed tars, lowest first. */
  readonly layers: readonly Buffer[];
  readonly names?: readonly string[];
  readonly run?: object;
  readonly architecture?: string;
  /** Instead of the true ones. */
  readonly diffIds?: readonly string[];
  /** How layers are stored. */
  readonly compress?: (layer: Buffer) => Buffer;
  readonly layerType?: string;
}

export function configOf(parts: ImageParts): Buffer {
  return Buffer.from(
    JSON.stringify({
      architecture: parts.architecture ?? (process.arch === 'x64' ? 'amd64' : process.arch),
      os: 'linux',
      created: '2024-05-06T07:08:09Z',
      config: parts.run ?? {},
      rootfs: { type: 'layers', diff_ids: parts.diffIds ?? parts.layers.map(layer => `sha256:${sha256(layer)}`) },
      history: parts.layers.map(() => ({ created_by: 'test' })),
    }),
  );
}

/** The form of `docker save` before version 25. */
export function dockerArchive(images: readonly ImageParts[]): Buffer {
  const entries: RawEntry[] = [];
  const manifest: object[] = [];
  for (const parts of images) {
    const config = configOf(parts);
    const layerPaths = parts.layers.map((layer, at) => {
      const path = `${sha256(`${at}${sha256(layer)}`)}/layer.tar`;
      entries.push({ path, data: parts.compress?.(layer) ?? layer });
      return path;
    });
    entries.push({ path: `${sha256(config)}.json`, data: config });
    manifest.push({ Config: `${sha256(config)}.json`, RepoTags: parts.names ?? null, Layers: layerPaths });
  }
  return tarOf([...entries, { path: 'manifest.json', data: JSON.stringify(manifest) }]);
}

export interface OciLayout {
  readonly files: ReadonlyMap<string, Buffer>;
  readonly manifests: readonly string[];
}

/** An OCI layout by its files: index.json, oci-layout, blobs. */
export function ociLayout(images: readonly ImageParts[]): OciLayout {
  const files = new Map<string, Buffer>();
  const add = (bytes: Buffer): { digest: string; size: number } => {
    files.set(`blobs/sha256/${sha256(bytes)}`, bytes);
    return { digest: `sha256:${sha256(bytes)}`, size: bytes.length };
  };
  const manifests: object[] = [];
  const digests: string[] = [];
  for (const parts of images) {
    const config = add(configOf(parts));
    const type = parts.layerType ?? (parts.compress === undefined ? 'tar' : 'tar+gzip');
    const layers = parts.layers.map(layer => ({
      mediaType: `application/vnd.oci.image.layer.v1.${type}`,
      ...add(parts.compress?.(layer) ?? layer),
    }));
    const manifest = add(
      Buffer.from(
        JSON.stringify({
          schemaVersion: 2,
          mediaType: 'application/vnd.oci.image.manifest.v1+json',
          config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...config },
          layers,
        }),
      ),
    );
    digests.push(manifest.digest);
    for (const name of parts.names ?? ['']) {
      manifests.push({
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        ...manifest,
        platform: {
          os: 'linux',
          architecture: parts.architecture ?? (process.arch === 'x64' ? 'amd64' : process.arch),
        },
        ...(name === '' ? {} : { annotations: { 'org.opencontainers.image.ref.name': name } }),
      });
    }
  }
  files.set('oci-layout', Buffer.from('{"imageLayoutVersion":"1.0.0"}'));
  files.set('index.json', Buffer.from(JSON.stringify({ schemaVersion: 2, manifests })));
  return { files, manifests: digests };
}

export function ociArchive(layout: OciLayout): Buffer {
  return tarOf([...layout.files].map(([path, data]) => ({ path, data })));
}
