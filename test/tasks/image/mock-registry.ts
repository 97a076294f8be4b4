/**
 * A registry of our own that does as it is told: proves, lies, cuts, stalls, redirects. It keeps every request, so that a test
 * can say which credential went where.
 */
import * as http from 'node:http';
import * as https from 'node:https';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { type ImageParts, type OciLayout, ociLayout, sha256 } from './archives.js';

export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly authorization: string;
  readonly range: string;
}

export interface Mock extends AsyncDisposable {
  /** "127.0.0.1:PORT". */
  readonly host: string;
  readonly requests: readonly Seen[];
  readonly layout: OciLayout;
  /** Of the manifest. */
  readonly digest: string;
  readonly layers: readonly { readonly digest: string; readonly bytes: Buffer }[];
  /** How often a request whose URL holds the text was made. */
  readonly count: (text: string) => number;
}

type Answer = (request: http.IncomingMessage, response: http.ServerResponse) => void;

export interface MockOptions {
  /** PEM texts: it speaks TLS, and asks for a certificate of this authority if there is one. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly clientCa?: string };
  readonly image?: ImageParts;
  /** Looked at first; true: it has answered. `nth` counts requests of the same URL from 1. */
  readonly hook?: (
    request: http.IncomingMessage,
    response: http.ServerResponse,
    mock: { readonly nth: number; readonly layout: OciLayout; readonly host: string },
  ) => boolean;
}

/** Serves "app" with the tag "1". */
export async function openMock(options: MockOptions = {}): Promise<Mock> {
  const layout = ociLayout([options.image ?? { layers: [] }]);
  const requests: Seen[] = [];
  const digest = layout.manifests[0] ?? '';
  const answer: Answer = (request, response) => {
    const url = request.url ?? '';
    requests.push({
      method: request.method ?? '',
      url,
      authorization: request.headers.authorization ?? '',
      range: request.headers.range ?? '',
    });
    response.on('error', () => undefined);
    const nth = requests.filter(seen => seen.url === url && seen.method === request.method).length;
    if (options.hook?.(request, response, { nth, layout, host }) === true) return;
    serve(layout, request, response);
  };
  const { tls } = options;
  const client = tls?.clientCa === undefined ? {} : { ca: tls.clientCa, requestCert: true, rejectUnauthorized: true };
  const server = tls === undefined ? http.createServer(answer) : https.createServer({ ...tls, ...client }, answer);
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const manifest = JSON.parse(fileOf(layout, digest)?.toString() ?? '{}') as { layers: { digest: string }[] };
  return {
    host,
    requests,
    layout,
    digest,
    layers: manifest.layers.map(layer => ({
      digest: layer.digest,
      bytes: fileOf(layout, layer.digest) ?? Buffer.alloc(0),
    })),
    count: text => requests.filter(({ url }) => url.includes(text)).length,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
    },
  };
}

function fileOf(layout: OciLayout, digest: string): Buffer | undefined {
  return layout.files.get(`blobs/${digest.replace(':', '/')}`);
}

/** An honest registry, with Range. */
export function serve(layout: OciLayout, request: http.IncomingMessage, response: http.ServerResponse): void {
  const path = (request.url ?? '').replace(/\?.*/, '');
  const [, kind, name = ''] = /\/(manifests|blobs)\/([^/]+)$/.exec(path) ?? [];
  if (/^\/v2\/?$/.test(path)) {
    response.end('{}');
    return;
  }
  const digest = name === '1' ? (layout.manifests[0] ?? '') : name;
  const bytes = fileOf(layout, digest);
  if (bytes === undefined) {
    refuse(response, 404, 'MANIFEST_UNKNOWN', 'manifest unknown');
    return;
  }
  if (kind === 'manifests') {
    const { mediaType } = JSON.parse(bytes.toString()) as { mediaType: string };
    response.writeHead(200, {
      'content-type': mediaType,
      'content-length': bytes.length,
      'docker-content-digest': `sha256:${sha256(bytes)}`,
    });
    response.end(request.method === 'HEAD' ? undefined : bytes);
    return;
  }
  const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
  if (from > 0) {
    response.writeHead(206, {
      'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}`,
      'content-length': bytes.length - from,
    });
  } else response.writeHead(200, { 'content-length': bytes.length });
  response.end(bytes.subarray(from));
}

export function refuse(
  response: http.ServerResponse,
  status: number,
  code: string,
  message: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify({ errors: [{ code, message }] }));
}

/** Layers are compressed, as registries have them. */
export function packed(layers: readonly Buffer[], over: Partial<ImageParts> = {}): ImageParts {
  return { layers, compress: layer => gzipSync(layer, { level: 1 }), ...over };
}
