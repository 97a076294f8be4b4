/** Ways in which a registry can lie, each with the reason for which it is refused. */
import { gzipSync } from 'node:zlib';
import { sha256, tarOf } from './archives.js';
import { type MockOptions, refuse } from './mock-registry.js';

export type Hook = NonNullable<MockOptions['hook']>;

export const isBlob = (url = ''): boolean => /\/blobs\//.test(url);
const isManifest = (url = ''): boolean => /\/manifests\//.test(url);

/** Answers each request for a manifest with this document. */
function manifestOf(change: (document: Record<string, unknown>) => unknown, type?: string): Hook {
  return (request, response, { layout }) => {
    if (!isManifest(request.url)) return false;
    const bytes = layout.files.get(`blobs/${layout.manifests[0]?.replace(':', '/')}`) ?? Buffer.alloc(0);
    const document = change(JSON.parse(bytes.toString()) as Record<string, unknown>);
    const text = typeof document === 'string' ? document : JSON.stringify(document);
    response.writeHead(200, { 'content-type': type ?? 'application/vnd.oci.image.manifest.v1+json' });
    response.end(text);
    return true;
  };
}

/** Answers each request for the layer. */
export function layerOf(answer: (bytes: Buffer, ...rest: Parameters<Hook>) => void): Hook {
  return (request, response, mock) => {
    const digest = /blobs\/(sha256:[0-9a-f]+)/.exec(request.url ?? '')?.[1] ?? '';
    const bytes = mock.layout.files.get(`blobs/${digest.replace(':', '/')}`);
    if (!isBlob(request.url) || bytes === undefined || bytes.length < 100_000) return false;
    answer(bytes, request, response, mock);
    return true;
  };
}

export const flipped = (bytes: Buffer): Buffer => {
  const copy = Buffer.from(bytes);
  copy[copy.length >> 1] = (copy[copy.length >> 1] ?? 0) ^ 1;
  return copy;
};

const index = 'application/vnd.oci.image.index.v1+json';

interface Lie {
  readonly title: string;
  readonly hook: Hook;
  readonly code: string;
  readonly image?: string;
  /** It ends only when the patience does. */
  readonly endless?: true;
}

export const lies: readonly Lie[] = [
  {
    title: 'a layer with one bit turned',
    code: 'image-digest',
    hook: layerOf((bytes, _q, response) => response.end(flipped(bytes))),
  },
  {
    title: 'another layer, honest in itself',
    code: 'image-digest',
    hook: layerOf((bytes, _q, response) =>
      response.end(
        Buffer.concat([gzipSync(tarOf([{ path: 'evil' }])), Buffer.alloc(bytes.length)]).subarray(0, bytes.length),
      ),
    ),
  },
  {
    title: 'a layer that is longer than said',
    code: 'registry-answer',
    hook: layerOf((bytes, _q, response) => {
      response.write(bytes);
      response.end('more');
    }),
  },
  {
    title: 'a length that is not that of the manifest',
    code: 'registry-answer',
    hook: layerOf((bytes, _q, response) => {
      response.writeHead(200, { 'content-length': bytes.length + 5 });
      response.end(Buffer.concat([bytes, Buffer.alloc(5)]));
    }),
  },
  {
    title: 'a layer that is always cut at the same place',
    endless: true,
    code: 'registry-unreachable',
    hook: layerOf((bytes, _q, response) => {
      response.writeHead(200, { 'content-length': bytes.length });
      response.write(bytes.subarray(0, 1_000), () => response.destroy());
    }),
  },
  {
    title: 'a part that was not asked for',
    code: 'registry-answer',
    hook: layerOf((bytes, _q, response) => {
      response.writeHead(206, { 'content-range': `bytes 7-${bytes.length - 1}/${bytes.length}` });
      response.end(bytes.subarray(7));
    }),
  },
  {
    title: 'one byte now and then',
    endless: true,
    code: 'registry-unreachable',
    hook: layerOf((bytes, _q, response) => {
      response.writeHead(200, { 'content-length': bytes.length });
      const timer = setInterval(() => response.write('x'), 20);
      response.on('close', () => clearInterval(timer));
    }),
  },
  {
    title: 'never an answer to the layer',
    endless: true,
    code: 'registry-unreachable',
    hook: layerOf((bytes, _q, response) => response.writeHead(200, { 'content-length': bytes.length }).flushHeaders()),
  },
  {
    title: 'a manifest of another digest than asked for',
    code: 'image-digest',
    image: `app@sha256:${'ab'.repeat(32)}`,
    hook: manifestOf(document => document),
  },
  {
    title: 'a digest in the header that is not that of the bytes',
    code: 'image-digest',
    hook: (request, response, { layout }) => {
      if (!isManifest(request.url)) return false;
      response.writeHead(200, {
        'content-type': 'application/vnd.oci.image.manifest.v1+json',
        'docker-content-digest': `sha256:${'cd'.repeat(32)}`,
      });
      response.end(layout.files.get(`blobs/${layout.manifests[0]?.replace(':', '/')}`));
      return true;
    },
  },
  {
    title: 'a manifest that says it is an index',
    code: 'registry-answer',
    hook: manifestOf(document => document, index),
  },
  {
    title: 'an index that is a manifest too',
    code: 'image-archive',
    hook: manifestOf(document => ({ ...document, mediaType: index, manifests: [] }), index),
  },
  {
    title: 'schema 1',
    code: 'registry-answer',
    hook: manifestOf(
      () => ({ schemaVersion: 1, fsLayers: [] }),
      'application/vnd.docker.distribution.manifest.v1+prettyjws',
    ),
  },
  { title: 'a web page', code: 'image-archive', hook: manifestOf(() => '<html>log in</html>', 'text/html') },
  {
    title: 'a manifest of 5 MiB',
    code: 'registry-answer',
    hook: manifestOf(document => ({ ...document, x: 'x'.repeat(5 * 2 ** 20) })),
  },
  {
    title: 'an endless manifest',
    code: 'registry-answer',
    hook: (request, response) => {
      if (!isManifest(request.url)) return false;
      const more = (): void => {
        if (!response.destroyed) response.write('x'.repeat(65_536), () => setImmediate(more));
      };
      more();
      return true;
    },
  },
  {
    title: 'more layers in the config than in the manifest',
    code: 'registry-answer',
    hook: manifestOf(document => ({ ...document, layers: [] })),
  },
  {
    title: 'a layer of a type that nobody knows',
    code: 'image-archive',
    hook: manifestOf(document => ({
      ...document,
      layers: [{ mediaType: 'text/x-evil', digest: `sha256:${'ab'.repeat(32)}`, size: 1 }],
    })),
  },
  {
    title: 'a layer whose digest is a path',
    code: 'image-archive',
    hook: manifestOf(document => ({
      ...document,
      layers: [
        { mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: 'sha256:../../../../etc/passwd', size: 1 },
      ],
    })),
  },
  {
    title: 'a size that is no number',
    code: 'image-archive',
    hook: manifestOf(document => ({ ...document, config: { ...(document['config'] as object), size: -1 } })),
  },
  {
    title: 'a config of another digest',
    code: 'image-digest',
    hook: (request, response, { layout }) => {
      const digest = /blobs\/(sha256:[0-9a-f]+)/.exec(request.url ?? '')?.[1];
      const bytes = layout.files.get(`blobs/${digest?.replace(':', '/')}`);
      if (bytes === undefined || bytes.length > 100_000) return false;
      response.end(bytes.toString().replace('linux', 'Linux'));
      return true;
    },
  },
  {
    title: 'a 401 that no proof ends',
    code: 'registry-denied',
    hook: (_request, response) => {
      refuse(response, 401, 'UNAUTHORIZED', 'no', { 'www-authenticate': 'Basic realm="x"' });
      return true;
    },
  },
  {
    title: 'a challenge that makes no sense',
    code: 'registry-denied',
    hook: (_request, response) => {
      refuse(response, 401, 'UNAUTHORIZED', 'no', { 'www-authenticate': 'Bearer realm="file:///etc/passwd"' });
      return true;
    },
  },
  {
    title: 'redirects without an end',
    code: 'registry-answer',
    hook: (request, response) => {
      response.writeHead(307, { location: request.url ?? '' });
      response.end();
      return true;
    },
  },
  {
    title: 'a redirect to a file',
    code: 'registry-answer',
    hook: layerOf((_bytes, _q, response) => {
      response.writeHead(307, { location: 'file:///etc/passwd' });
      response.end();
    }),
  },
  { title: 'indexes four deep', code: 'registry-answer', hook: deepIndexes() },
];

/** An index of an index of an index: digests are right, the depth is not. */
function deepIndexes(): Hook {
  const documents = new Map<string, string>();
  let inner = { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: `sha256:${'ab'.repeat(32)}`, size: 2 };
  for (let depth = 0; depth < 4; depth += 1) {
    const text = JSON.stringify({ schemaVersion: 2, mediaType: index, manifests: [inner] });
    inner = { mediaType: index, digest: `sha256:${sha256(text)}`, size: text.length };
    documents.set(inner.digest, text);
    documents.set('1', text);
  }
  return (request, response) => {
    if (!isManifest(request.url)) return false;
    response.writeHead(200, { 'content-type': index });
    response.end(documents.get((request.url ?? '').split('/').at(-1) ?? '') ?? '{}');
    return true;
  };
}
