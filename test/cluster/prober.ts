/**
 * Asks and answers in the network namespaces of containers: every member has a server for TCP and UDP, and asks every address of all
 * others by TCP, UDP and ICMP, all at once and without a process of its own for any of it.
 *
 * Each question has one of four answers: the right task answered, another one did, it was refused (by a reset or an ICMP error), or
 * nothing came. Used by matrix.ts. Not here: who may talk to whom.
 */
import dgram from 'node:dgram';
import * as fs from 'node:fs';
import net from 'node:net';
import type { NamespaceHandle } from '../../src/host.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { libcFunction } from '../../src/host-linux/libc.js';
import { insideNamespace } from '../../src/host-linux/namespaces.js';

const protocols = ['tcp', 'udp', 'icmp'] as const;
type Protocol = (typeof protocols)[number];
export type Answer = 'answered' | 'wrong' | 'refused' | 'silent';

export interface Member {
  /** Of the task; no two are alike. */
  readonly id: string;
  readonly namespacePath: string;
  readonly addresses: readonly string[];
}

export interface Question {
  readonly protocol: Protocol;
  readonly from: Member;
  readonly to: Member;
  readonly address: string;
}

interface Standing extends AsyncDisposable {
  readonly member: Member;
  readonly namespace: NamespaceHandle;
  readonly icmpFd: number;
}

const port = 7_000;
/** Nothing for so long is silence; whoever wants another answer asks again. */
const silenceMs = 1_500;

const socketCall = libcFunction<[number, number, number], number>('int socket(int domain, int type, int protocol)');
const sendTo = libcFunction<[number, Uint8Array, number, number, Uint8Array, number], number>(
  'long sendto(int fd, const uint8_t *data, size_t size, int flags, const uint8_t *address, uint32_t length)',
);
const receive = libcFunction<[number, Uint8Array, number, number], number>(
  'long recv(int fd, _Out_ uint8_t *data, size_t size, int flags)',
);
const AF_INET = 2;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const IPPROTO_ICMP = 1;
const MSG_DONTWAIT = 0x40;
const echoReply = 0;
const unreachable = 3;
const echoRequest = 8;

export class Prober implements AsyncDisposable {
  readonly #standing = new Map<string, Standing>();

  /** From now on these, and no others, answer and ask. */
  async stand(members: readonly Member[]): Promise<void> {
    const wanted = new Map(members.map(member => [member.id, member]));
    for (const [id, standing] of this.#standing) {
      if (wanted.has(id)) continue;
      this.#standing.delete(id);
      await standing[Symbol.asyncDispose]();
    }
    for (const member of members)
      if (!this.#standing.has(member.id)) this.#standing.set(member.id, await stand(member));
  }

  /** Every question there is, each with a name. */
  questions(): ReadonlyMap<string, Question> {
    const members = [...this.#standing.values()].map(({ member }) => member);
    const found = members.flatMap(from =>
      members
        .filter(to => to !== from)
        .flatMap(to => to.addresses.map(address => ({ from, to, address })))
        .flatMap(one => protocols.map(protocol => ({ ...one, protocol }))),
    );
    return new Map(found.map(one => [`${one.protocol} ${one.from.id} ${one.address}`, one]));
  }

  /** All of them at once. */
  async ask(questions: ReadonlyMap<string, Question>): Promise<ReadonlyMap<string, Answer>> {
    const answers = new Map<string, Answer>();
    const byAsker = Map.groupBy(questions, ([, { from }]) => from.id);
    const asked = [...byAsker].flatMap(([id, own]) => {
      const from = this.#standing.get(id);
      if (from === undefined) return [];
      const icmp = own.filter(([, { protocol }]) => protocol === 'icmp');
      const others = own.filter(([, { protocol }]) => protocol !== 'icmp');
      return [
        askIcmp(from, icmp).then(heard => {
          for (const [key, answer] of heard) answers.set(key, answer);
        }),
        ...others.map(async ([key, question]) => {
          answers.set(key, await (question.protocol === 'tcp' ? askTcp(question) : askUdp(from, question)));
        }),
      ];
    });
    await Promise.all(asked);
    return answers;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stand([]);
  }
}

async function stand(member: Member): Promise<Standing> {
  const { kernel } = linuxHost;
  const namespace = kernel.openNamespace(member.namespacePath);
  const open = new Set<net.Socket>();
  const tcp = net.createServer(socket => {
    open.add(socket);
    socket.on('close', () => open.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.end(member.id);
  });
  tcp.listen({ fd: kernel.openSocket(namespace, { kind: 'tcp', address: '0.0.0.0', port }) });
  const udp = dgram.createSocket('udp4');
  udp.on('error', () => undefined);
  udp.on('message', (_message, from) => udp.send(member.id, from.port, from.address, () => undefined));
  udp.bind({ fd: kernel.openSocket(namespace, { kind: 'udp', address: '0.0.0.0', port }) });
  const icmpFd = insideNamespace(namespace, () => socketCall(AF_INET, SOCK_RAW_CLOEXEC, IPPROTO_ICMP));
  if (icmpFd < 0) throw new Error('no raw socket for ICMP');
  return {
    member,
    namespace,
    icmpFd,
    [Symbol.asyncDispose]: async () => {
      fs.closeSync(icmpFd);
      udp.close();
      // Who asked may be gone with its namespace: nobody closes the other end then.
      for (const socket of open) socket.destroy();
      await new Promise(resolve => tcp.close(resolve));
      kernel.closeNamespace(namespace);
    },
  };
}

async function askTcp({ from, to, address }: Question): Promise<Answer> {
  const limit = AbortSignal.timeout(silenceMs);
  try {
    const socket = await linuxHost.kernel.connect({
      namespacePath: from.namespacePath,
      address,
      port,
      signal: limit,
    });
    limit.addEventListener('abort', () => socket.destroy(), { once: true });
    let said = '';
    for await (const piece of socket) said += String(piece);
    if (limit.aborted) return 'silent';
    return said === to.id ? 'answered' : 'wrong';
  } catch {
    return limit.aborted ? 'silent' : 'refused';
  }
}

/** Connected, so that an ICMP error comes back as an error of the socket. */
function askUdp({ namespace }: Standing, { to, address }: Question): Promise<Answer> {
  return new Promise(resolve => {
    const socket = dgram.createSocket('udp4');
    const finish = (answer: Answer): void => {
      clearTimeout(timer);
      socket.removeAllListeners().on('error', () => undefined);
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(() => finish('silent'), silenceMs);
    socket.on('error', () => finish('refused'));
    socket.on('message', message => finish(message.toString() === to.id ? 'answered' : 'wrong'));
    const fd = linuxHost.kernel.openSocket(namespace, { kind: 'udp', address: '0.0.0.0', port: 0 });
    socket.bind({ fd }, () => socket.connect(port, address, () => socket.send('?')));
  });
}

/** One packet to each, told apart by its number. Only the kernel of the right task answers an echo to its address. */
async function askIcmp(
  { icmpFd }: Standing,
  questions: readonly (readonly [key: string, question: Question])[],
): Promise<ReadonlyMap<string, Answer>> {
  const answers = new Map<string, Answer>(questions.map(([key]) => [key, 'silent']));
  const identifier = icmpFd & 0xffff;
  for (const [number, [, { address }]] of questions.entries()) {
    const packet = echo(identifier, number);
    sendTo(icmpFd, packet, packet.length, MSG_DONTWAIT, socketAddress(address), 16);
  }
  const endMs = performance.now() + silenceMs;
  const buffer = Buffer.alloc(2_048);
  while ([...answers.values()].includes('silent') && performance.now() < endMs) {
    await new Promise(resolve => setTimeout(resolve, 20));
    for (let size = 1; size > 0; ) {
      size = receive(icmpFd, buffer, buffer.length, MSG_DONTWAIT);
      const heard = size > 0 ? parseIcmp(buffer.subarray(0, size)) : undefined;
      const [key] = (heard?.identifier === identifier ? questions[heard.number] : undefined) ?? [];
      if (heard !== undefined && key !== undefined) answers.set(key, heard.answer);
    }
  }
  return answers;
}

function echo(identifier: number, number: number): Buffer {
  const packet = Buffer.alloc(16);
  packet[0] = echoRequest;
  packet.writeUInt16BE(identifier, 4);
  packet.writeUInt16BE(number, 6);
  let sum = 0;
  for (let at = 0; at < packet.length; at += 2) sum += packet.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  packet.writeUInt16BE(~sum & 0xffff, 2);
  return packet;
}

function socketAddress(address: string): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt16LE(AF_INET, 0);
  bytes.set(address.split('.').map(Number), 4);
  return bytes;
}

/** A packet as a raw socket gives it, with its IP header: an echo, or an error that quotes the packet it is about. */
function parseIcmp(
  packet: Buffer,
): { readonly identifier: number; readonly number: number; readonly answer: Answer } | undefined {
  const icmp = packet.subarray(((packet[0] ?? 0) & 15) * 4);
  const about = (echoed: Buffer, answer: Answer) =>
    echoed.length < 8 ? undefined : { identifier: echoed.readUInt16BE(4), number: echoed.readUInt16BE(6), answer };
  if (icmp[0] === echoReply) return about(icmp, 'answered');
  if (icmp[0] !== unreachable) return undefined;
  const quoted = icmp.subarray(8);
  return about(quoted.subarray(((quoted[0] ?? 0) & 15) * 4), 'refused');
}
