/**
 * Asks a container once whether it takes work or lives: a program inside, an HTTP answer, an accepted connection, or gRPC's health
 * service. The network kinds go to the task's own address from within its own network namespace, so they see what a client on
 * its network sees, and need no published port.
 *
 * Every question ends: with an answer, at its timeout, or with the signal. Not here: when and how often (readiness.ts, health.ts).
 */
import { request } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { CoveyError, messageOf } from '../errors.js';
import type { GrpcProbe, HttpProbe, ReadyCheck } from '../gen/types.js';
import type { Host } from '../host.js';

export type NetworkProbe = Exclude<ReadyCheck['probe'], { kind: 'exec' }>;

export interface ProbeAnswer {
  readonly ok: boolean;
  /** What was wrong; empty when ok. */
  readonly output: string;
}

export interface ProbePlace {
  /** Of the container's process 1. */
  readonly pid: number;
  readonly address: string;
}

export interface ProbeRun {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

const bodyKeptBytes = 200;
const statusOk = { min: 200, max: 399 };
const grpcPath = '/grpc.health.v1.Health/Check';
const grpcServing = 1;

export async function askNetwork(
  host: Pick<Host, 'clock' | 'kernel'>,
  place: ProbePlace,
  { probe, timeoutMs, signal }: ProbeRun & { readonly probe: NetworkProbe },
): Promise<ProbeAnswer> {
  const ending = new AbortController();
  const end = (): void => ending.abort(new CoveyError('timeout', `Cannot get an answer within ${timeoutMs} ms`));
  const timer = host.clock.after(timeoutMs, end);
  signal.addEventListener('abort', end, { once: true });
  let stream: Duplex | undefined;
  try {
    stream = await host.kernel.connect({
      namespacePath: `/proc/${place.pid}/ns/net`,
      address: place.address,
      port: probe.port,
      signal: ending.signal,
    });
    return await converse(stream, { probe, address: place.address, signal: ending.signal });
  } catch (error) {
    const reason = ending.signal.aborted ? ending.signal.reason : error;
    return { ok: false, output: `${renderProbe(probe)}: ${messageOf(reason)}` };
  } finally {
    timer.cancel();
    signal.removeEventListener('abort', end);
    stream?.destroy();
  }
}

interface Conversation {
  readonly probe: NetworkProbe;
  readonly address: string;
  readonly signal: AbortSignal;
}

async function converse(stream: Duplex, { probe, address, signal }: Conversation): Promise<ProbeAnswer> {
  if (probe.kind === 'tcp') return { ok: true, output: '' };
  const failed = new Promise<never>((_resolve, reject) => {
    stream.on('error', reject);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  const answer = probe.kind === 'http' ? askHttp(stream, probe, address) : askGrpc(stream, probe);
  return await Promise.race([answer, failed]);
}

/** "GET http :8080/ready", "TCP port 5432": the question in words. */
function renderProbe(probe: NetworkProbe): string {
  switch (probe.kind) {
    case 'http':
      return `GET ${probe.scheme || 'http'}://:${probe.port}${probe.path || '/'}`;
    case 'tcp':
      return `TCP port ${probe.port}`;
    case 'grpc':
      return `gRPC health${probe.service === '' ? '' : ` of ${probe.service}`} at port ${probe.port}`;
  }
}

function askHttp(stream: Duplex, probe: HttpProbe, address: string): Promise<ProbeAnswer> {
  const secured = probe.scheme === 'https' ? connectTls({ socket: stream, rejectUnauthorized: false }) : stream;
  const [min, max] =
    probe.statusMin === 0 && probe.statusMax === 0
      ? [statusOk.min, statusOk.max]
      : [probe.statusMin, probe.statusMax || probe.statusMin];
  return new Promise((resolve, reject) => {
    const asked = request({
      createConnection: () => secured,
      method: 'GET',
      path: probe.path || '/',
      headers: { host: `${address}:${probe.port}`, 'user-agent': 'covey-check', connection: 'close', ...probe.headers },
    });
    secured.on('error', reject);
    asked.on('error', reject);
    asked.on('response', response => {
      const status = response.statusCode ?? 0;
      if (status >= min && status <= max) {
        response.resume();
        resolve({ ok: true, output: '' });
        return;
      }
      let body = '';
      response.on('data', (chunk: Buffer) => {
        if (body.length < bodyKeptBytes) body += chunk.toString('utf8').slice(0, bodyKeptBytes - body.length);
      });
      const done = (): void =>
        resolve({ ok: false, output: `${renderProbe({ kind: 'http', ...probe })}: ${status} ${body.trim()}`.trim() });
      response.on('end', done);
      response.on('error', done);
    });
    asked.end();
  });
}

/** One call of the health service over its own HTTP/2 session: five bytes of frame, then the message. */
function askGrpc(stream: Duplex, probe: GrpcProbe): Promise<ProbeAnswer> {
  const name = Buffer.from(probe.service);
  const message = name.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.from([0x0a, name.length]), name]);
  const frame = Buffer.alloc(5);
  frame.writeUInt32BE(message.length, 1);
  return new Promise((resolve, reject) => {
    const session = connectHttp2('http://health', { createConnection: () => stream });
    session.on('error', reject);
    const call = session.request({
      ':method': 'POST',
      ':path': grpcPath,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    const parts: Buffer[] = [];
    let grpcStatus = '0';
    call.on('error', reject);
    call.on('response', headers => {
      grpcStatus = String(headers['grpc-status'] ?? grpcStatus);
    });
    call.on('trailers', trailers => {
      grpcStatus = String(trailers['grpc-status'] ?? grpcStatus);
    });
    call.on('data', (chunk: Buffer) => parts.push(chunk));
    call.on('end', () => {
      session.destroy();
      const [tag, value] = Buffer.concat(parts).subarray(5);
      const serving = grpcStatus === '0' && tag === 0x08 && value === grpcServing;
      const words = grpcStatus === '0' ? `status ${value ?? 'unknown'}, not serving` : `grpc-status ${grpcStatus}`;
      resolve({ ok: serving, output: serving ? '' : `${renderProbe({ kind: 'grpc', ...probe })}: ${words}` });
    });
    call.end(Buffer.concat([frame, message]));
  });
}
