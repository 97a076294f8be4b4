/**
 * The resolver's sockets: UDP and TCP on the gateway's address and on 127.0.0.11, made in the fabric and served from here. A
 * task is known by the address it asks from, which it cannot forge: the fabric checks sources against its routes. They outlive
 * the daemon: what is asked while it restarts is answered by the next one.
 *
 * Not here: what names stand for (records.ts), DNS messages (answer.ts), asking outside (upstream.ts).
 */
import * as dgram from 'node:dgram';
import * as net from 'node:net';
import type { Clock, Kernel, NamespaceHandle, Random } from '../../host.js';
import type { Telemetry } from '../../telemetry.js';
import { gatewayAddress, resolverAlias } from '../constants.js';
import { answerQuery, renderCut, renderServerFailure, sizeLimitOf } from './answer.js';
import type { Asker, Records } from './records.js';
import { openUpstream, type Upstream } from './upstream.js';

export interface Resolver {
  /** Answers from these records from now on. */
  readonly show: (records: Records) => void;
  readonly close: () => Promise<void>;
}

export interface ResolverOptions {
  readonly kernel: Kernel;
  readonly namespace: NamespaceHandle;
  /** Where it is written which process keeps the sockets. */
  readonly keptAt: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly telemetry: Telemetry;
  readonly servers: () => readonly string[];
  /** The task that has the address. */
  readonly findAsker: (address: string) => Asker | undefined;
  /** To begin with: what waits in the sockets is answered from them. */
  readonly records: Records;
}

const port = 53;
const sockets = [gatewayAddress, resolverAlias].flatMap(address => [
  { kind: 'udp', address, port } as const,
  { kind: 'tcp', address, port } as const,
]);
const connectionsMax = 512;
const connectionIdleMs = 10_000;
/** A question of a stream is small; what is longer is not DNS. */
const streamQuestionMax = 4_096;
/** Questions of one connection under way; further ones wait in the socket. */
const pipelineMax = 16;
const streamMax = 65_535;

interface Server {
  readonly records: () => Records;
  readonly findAsker: (address: string) => Asker | undefined;
  readonly upstream: Upstream;
  readonly clock: Clock;
  readonly random: Random;
  readonly telemetry: Telemetry;
}

export async function openResolver(options: ResolverOptions): Promise<Resolver> {
  const { kernel, namespace, telemetry, clock, random, findAsker } = options;
  let { records } = options;
  const upstream = openUpstream({ ...options, count: name => telemetry.count(name) });
  const server: Server = { records: () => records, findAsker, upstream, clock, random, telemetry };
  const closers: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    upstream.close();
    await Promise.all(closers.splice(0).map(one => one()));
  };
  try {
    const fds = kernel.openKeptSockets(namespace, sockets, options.keptAt);
    const served = await Promise.allSettled(
      fds.map((fd, at) => (sockets[at]?.kind === 'udp' ? serveDatagrams : serveStreams)(server, fd)),
    );
    for (const one of served) if (one.status === 'fulfilled') closers.push(one.value);
    for (const one of served) if (one.status === 'rejected') throw one.reason;
  } catch (error) {
    await close();
    throw error;
  }
  return {
    show: next => {
      records = next;
    },
    close,
  };
}

async function serveDatagrams(server: Server, fd: number): Promise<() => Promise<void>> {
  const socket = dgram.createSocket('udp4');
  const report = (error: Error): void => server.telemetry.log.warn('resolver socket', { error });
  socket.on('error', report);
  socket.on('message', (packet, { address, port: clientPort }) => {
    const send = (answer: Buffer): void => {
      socket.send(answer, clientPort, address, () => undefined);
    };
    void respond(server, { packet, from: address, transport: 'udp' }, send);
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.bind({ fd }, () => {
      socket.off('error', reject);
      resolve();
    });
  });
  socket.unref();
  return () => new Promise(resolve => socket.close(() => resolve()));
}

async function serveStreams(server: Server, fd: number): Promise<() => Promise<void>> {
  const sockets = new Set<net.Socket>();
  const listener = net.createServer(socket => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    serveStream(server, socket);
  });
  listener.maxConnections = connectionsMax;
  listener.on('error', error => server.telemetry.log.warn('resolver socket', { error }));
  await new Promise<void>((resolve, reject) => {
    listener.once('error', reject);
    listener.listen({ fd }, () => {
      listener.off('error', reject);
      resolve();
    });
  });
  listener.unref();
  return () =>
    new Promise(resolve => {
      for (const socket of sockets) socket.destroy();
      listener.close(() => resolve());
    });
}

/** Questions with two bytes of length before each. */
function serveStream(server: Server, socket: net.Socket): void {
  let received: Buffer = Buffer.alloc(0);
  let underWay = 0;
  let idle = server.clock.after(connectionIdleMs, () => socket.destroy());
  socket.on('error', () => socket.destroy());
  socket.on('close', () => idle.cancel());
  const take = (): void => {
    while (received.length >= 2 && underWay < pipelineMax) {
      const size = received.readUInt16BE(0);
      if (size > streamQuestionMax) return void socket.destroy();
      if (received.length < 2 + size) return;
      const packet = received.subarray(2, 2 + size);
      received = received.subarray(2 + size);
      underWay += 1;
      const query = { packet, from: socket.remoteAddress ?? '', transport: 'tcp' } as const;
      void respond(server, query, answer => {
        const length = Buffer.alloc(2);
        length.writeUInt16BE(answer.length);
        if (!socket.destroyed) socket.write(Buffer.concat([length, answer]));
      }).finally(() => {
        underWay -= 1;
        if (underWay === pipelineMax - 1) socket.resume();
        take();
      });
    }
    if (underWay >= pipelineMax) socket.pause();
  };
  socket.on('data', (data: Buffer) => {
    idle.cancel();
    idle = server.clock.after(connectionIdleMs, () => socket.destroy());
    received = received.length === 0 ? data : Buffer.concat([received, data]);
    take();
  });
}

interface Asked {
  readonly packet: Buffer;
  readonly from: string;
  readonly transport: 'udp' | 'tcp';
}

async function respond(server: Server, asked: Asked, send: (answer: Buffer) => void): Promise<void> {
  const { packet, from, transport } = asked;
  server.telemetry.count('dns_questions_total');
  try {
    const asker = server.findAsker(from);
    const reply = answerQuery(packet, {
      records: server.records(),
      asker,
      transport,
      random: server.random.fraction,
    });
    if (reply.kind === 'reply') send(reply.packet);
    if (reply.kind !== 'outside') return;
    const { query } = reply;
    const answer = await server.upstream.ask(packet, { from, transport, servers: asker?.upstreams ?? [] });
    if (answer === undefined) send(renderServerFailure(query));
    else send(answer.length <= sizeLimitOf(query, transport, streamMax) ? answer : renderCut(query));
  } catch (error) {
    // A question that breaks the codec: one client's business, and it gets no answer.
    server.telemetry.count('dns_broken_total');
    server.telemetry.log.debug('resolver could not answer', { error });
  }
}
