/**
 * Asks the host's resolvers for names outside of the cluster: a socket for each question (so that its port is as random as
 * its id), the first resolver at once, the next ones each 300 ms later, the first usable answer wins. Bounded in number, time
 * and per task.
 *
 * Not here: names of the cluster (records.ts), the clients' sockets (server.ts).
 */
import * as dgram from 'node:dgram';
import * as net from 'node:net';
import type { Clock, Random } from '../../host.js';

export interface Upstream {
  /** The answer with the client's id; undefined when none came, or a limit is reached. */
  readonly ask: (
    packet: Buffer,
    options: {
      readonly from: string;
      readonly transport: 'udp' | 'tcp';
      /** Instead of the host's; empty: the host's. */
      readonly servers: readonly string[];
    },
  ) => Promise<Buffer | undefined>;
  readonly close: () => void;
}

export interface UpstreamOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** "address" or "address:port", in the order of preference. Asked for each question. */
  readonly servers: () => readonly string[];
  readonly count: (name: string) => void;
}

const questionsMax = 1_024;
const questionsPerTaskMax = 128;
const serversMax = 3;
const nextServerAfterMs = 300;
const timeoutMs = 4_000;
const rcodeServerFailure = 2;
const rcodeRefused = 5;

interface Attempt {
  readonly cancel: () => void;
}

export function openUpstream(options: UpstreamOptions): Upstream {
  const underWay = new Set<() => void>();
  const perTask = new Map<string, number>();
  const ask: Upstream['ask'] = async (packet, { from, transport, servers }) => {
    const mine = perTask.get(from) ?? 0;
    if (underWay.size >= questionsMax || mine >= questionsPerTaskMax) {
      options.count('dns_upstream_refused_total');
      return undefined;
    }
    perTask.set(from, mine + 1);
    try {
      const answer = await askAll(packet, {
        ...options,
        ...(servers.length === 0 ? {} : { servers: () => servers }),
        transport,
        underWay,
      });
      options.count(answer === undefined ? 'dns_upstream_failed_total' : 'dns_upstream_answered_total');
      return answer;
    } finally {
      const left = (perTask.get(from) ?? 1) - 1;
      if (left > 0) perTask.set(from, left);
      else perTask.delete(from);
    }
  };
  return {
    ask,
    close: () => {
      for (const giveUp of [...underWay]) giveUp();
    },
  };
}

interface Round extends UpstreamOptions {
  readonly transport: 'udp' | 'tcp';
  readonly underWay: Set<() => void>;
}

/** One question to all servers in turn. A refusal or failure calls the next one at once and is the answer only if no other came. */
function askAll(packet: Buffer, round: Round): Promise<Buffer | undefined> {
  const servers = round.servers().slice(0, serversMax).map(parseServer);
  if (servers.length === 0) return Promise.resolve(undefined);
  return new Promise(resolve => {
    const attempts: Attempt[] = [];
    let fallback: Buffer | undefined;
    let failed = 0;
    let next = 0;
    let timer: Attempt = { cancel: () => undefined };
    const finish = (answer: Buffer | undefined): void => {
      round.underWay.delete(giveUp);
      deadline.cancel();
      timer.cancel();
      for (const attempt of attempts) attempt.cancel();
      resolve(answer);
    };
    const giveUp = (): void => finish(fallback);
    const deadline = round.clock.after(timeoutMs, giveUp);
    const onAnswer = (answer: Buffer | undefined): void => {
      const rcode = answer === undefined ? rcodeServerFailure : answer.readUInt16BE(2) & 15;
      if (answer !== undefined && rcode !== rcodeServerFailure && rcode !== rcodeRefused) {
        finish(answer);
        return;
      }
      fallback ??= answer;
      failed += 1;
      if (failed === servers.length) finish(fallback);
      else start();
    };
    const start = (): void => {
      timer.cancel();
      const server = servers[next];
      if (server === undefined) return;
      next += 1;
      attempts.push(
        round.transport === 'udp' ? askUdp(packet, server, round, onAnswer) : askTcp(packet, server, onAnswer),
      );
      if (next < servers.length) timer = round.clock.after(nextServerAfterMs, start);
    };
    round.underWay.add(giveUp);
    start();
  });
}

interface Server {
  readonly address: string;
  readonly port: number;
}

function parseServer(text: string): Server {
  const [, address = text, port = '53'] =
    /^\[?([^\]]+?)\]?(?::(\d+))?$/.exec(text.includes('::') && !text.startsWith('[') ? `[${text}]` : text) ?? [];
  return { address, port: Number(port) };
}

/** An answer counts when it comes from the asked server (the socket is connected) with our id. */
function askUdp(
  packet: Buffer,
  server: Server,
  { random }: Round,
  done: (answer: Buffer | undefined) => void,
): Attempt {
  const id = Buffer.from(random.bytes(2));
  const socket = dgram.createSocket(net.isIPv6(server.address) ? 'udp6' : 'udp4');
  let open = true;
  const close = (): void => {
    if (open) socket.close();
    open = false;
  };
  const end = (answer: Buffer | undefined): void => {
    if (!open) return;
    close();
    done(answer);
  };
  socket.on('error', () => end(undefined));
  socket.on('message', message => {
    if (message.length < 12 || !message.subarray(0, 2).equals(id) || ((message[2] ?? 0) & 0x80) === 0) return;
    end(Buffer.concat([packet.subarray(0, 2), message.subarray(2)]));
  });
  socket.connect(server.port, server.address, () => {
    if (open) socket.send(Buffer.concat([id, packet.subarray(2)]));
  });
  return { cancel: close };
}

function askTcp(packet: Buffer, server: Server, done: (answer: Buffer | undefined) => void): Attempt {
  const socket = net.connect({ host: server.address, port: server.port });
  let received: Buffer = Buffer.alloc(0);
  let open = true;
  const end = (answer: Buffer | undefined): void => {
    if (!open) return;
    open = false;
    socket.destroy();
    done(answer);
  };
  socket.on('error', () => end(undefined));
  socket.on('close', () => end(undefined));
  socket.on('connect', () => {
    const length = Buffer.alloc(2);
    length.writeUInt16BE(packet.length);
    socket.write(Buffer.concat([length, packet]));
  });
  socket.on('data', (data: Buffer) => {
    received = Buffer.concat([received, data]);
    if (received.length < 2) return;
    const size = received.readUInt16BE(0);
    if (size >= 12 && received.length >= 2 + size) end(received.subarray(2, 2 + size));
  });
  return {
    cancel: () => {
      open = false;
      socket.destroy();
    },
  };
}
