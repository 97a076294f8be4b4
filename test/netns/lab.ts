/**
 * A wire with nodes and an outside client on it, each a network namespace: real networks on the real kernel, without touching
 * the machine's own. Servers run in this process (a listening socket can be made in any namespace), clients are nc.
 *
 * Not here: what must hold (the tests).
 */
import { execFile, execFileSync } from 'node:child_process';
import dgram from 'node:dgram';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TableItem, TableNetwork, Task } from '../../src/gen/types.js';
import type { NamespaceHandle } from '../../src/host.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { asId, type NetworkId, type NodeId, type ServiceId, type TaskId } from '../../src/ids.js';
import { type NetworkStack, openNetworkStack } from '../../src/netns/index.js';
import { type Logger, makeTelemetry } from '../../src/telemetry.js';
import { containerDefaults } from '../defaults.js';

export interface LabNode {
  readonly number: number;
  readonly address: string;
  readonly namespace: NamespaceHandle;
  readonly runDir: string;
  readonly dataDir: string;
  stack: NetworkStack;
}

export interface Lab extends AsyncDisposable {
  readonly name: string;
  readonly directory: string;
  readonly nodes: readonly LabNode[];
  /** Outside of the cluster, on the same wire. */
  readonly client: NamespaceHandle;
  readonly clientAddress: string;
  readonly problems: string[];
  /** A stack over what is there, as a daemon that starts. */
  readonly open: (node: LabNode, upstreams?: readonly string[]) => NetworkStack;
}

export interface LabOptions {
  readonly nodes: number;
  readonly prefix?: string;
  readonly mtu?: number;
  /** Nodes send to each other's IPv6 addresses. */
  readonly isV6?: boolean;
  readonly upstreams?: readonly string[];
  /** Default: never, so that what a test breaks is mended when it says so. */
  readonly glanceEveryMs?: number;
}

const underlay = '10.91.0';
const neverMs = 86_400_000;
export const clusterVnis = { vniOverlay: 0x222220, vniIngress: 0x222221 };
export const dataPort = 7378;

function run(...argv: readonly string[]): string {
  const [program = '', ...rest] = argv;
  return execFileSync(program, rest, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

export async function openLab(options: LabOptions): Promise<Lab> {
  const directory = mkdtempSync(join(tmpdir(), 'covey-netns-lab-'));
  const { kernel, files } = linuxHost;
  const problems: string[] = [];
  // Timers of the daemon do not keep a process alive.
  const alive = setInterval(() => undefined, 60_000);
  const wire = kernel.makeNetworkNamespace(join(directory, 'wire'));
  inside(wire, 'ip', 'link', 'add', 'u0', 'type', 'bridge');
  inside(wire, 'ip', 'link', 'set', 'u0', 'up');
  const machine = (number: number): NamespaceHandle => {
    const namespace = kernel.makeNetworkNamespace(join(directory, `m${number}`));
    const mtu = ['mtu', String(options.mtu ?? 1_500)];
    const link = `vn${number}`;
    inside(
      wire,
      'ip',
      'link',
      'add',
      link,
      ...mtu,
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      ...mtu,
      'netns',
      namespace.path,
    );
    inside(wire, 'ip', 'link', 'set', link, 'master', 'u0', 'up');
    inside(namespace, 'ip', 'link', 'set', 'lo', 'up');
    inside(namespace, 'ip', 'link', 'set', 'eth0', 'up');
    inside(namespace, 'ip', 'addr', 'add', `${underlay}.${number}/24`, 'dev', 'eth0');
    if (options.isV6 === true) inside(namespace, 'ip', 'addr', 'add', `fd91::${number}/64`, 'dev', 'eth0', 'nodad');
    return namespace;
  };
  const open = (node: Omit<LabNode, 'stack'>, upstreams = options.upstreams ?? []): NetworkStack =>
    openNetworkStack({
      host: linuxHost,
      telemetry: makeTelemetry(recordingLogger(problems, node.number)),
      prefix: options.prefix ?? 'covey',
      runDir: node.runDir,
      dataDir: node.dataDir,
      namespace: node.namespace,
      upstreams: () => upstreams,
      glanceEveryMs: options.glanceEveryMs ?? neverMs,
    });
  const nodes: LabNode[] = [];
  for (let number = 1; number <= options.nodes; number += 1) {
    const place = join(directory, `n${number}`);
    const node = {
      number,
      address: options.isV6 === true ? `fd91::${number}` : `${underlay}.${number}`,
      namespace: machine(number),
      runDir: join(place, 'run'),
      dataDir: join(place, 'data'),
    };
    await files.makeDirectory(node.runDir);
    nodes.push({ ...node, stack: open(node) });
  }
  const client = machine(9);
  return {
    name: directory,
    directory,
    nodes,
    client,
    clientAddress: `${underlay}.9`,
    problems,
    open,
    [Symbol.asyncDispose]: async () => {
      clearInterval(alive);
      for (const node of nodes) {
        await node.stack.removeEverything();
        await node.stack[Symbol.asyncDispose]();
      }
      for (const namespace of [...nodes.map(node => node.namespace), client, wire]) {
        kernel.closeNamespace(namespace);
        kernel.removeNamespace(namespace.path);
      }
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

function recordingLogger(problems: string[], number: number): Logger {
  const note = (message: string, fields?: object): void => {
    problems.push(
      `node ${number}: ${message} ${JSON.stringify(fields, (_key, value) => (value instanceof Error ? String(value) : value))}`,
    );
  };
  const logger: Logger = { debug: () => undefined, info: () => undefined, warn: note, error: note, with: () => logger };
  return logger;
}

/** A command in a namespace; returns what it prints. */
export function inside(namespace: { readonly path: string }, ...argv: readonly string[]): string {
  return run('nsenter', `--net=${namespace.path}`, ...argv);
}

/** The same without blocking this process, which may be the server that is asked. Errors are the text "failed". */
export function ask(namespace: { readonly path: string }, ...argv: readonly string[]): Promise<string> {
  return new Promise(resolve => {
    const child = execFile(
      'nsenter',
      [`--net=${namespace.path}`, ...argv],
      { encoding: 'utf8', timeout: 10_000 },
      (error, stdout, stderr) => {
        const text = stdout.trim();
        resolve(text !== '' ? text : error === null ? '' : `failed ${stderr.trim()}`);
      },
    );
    child.stdin?.end();
  });
}

/** How many segments of TCP were sent again in a namespace so far (RFC 4022, tcpRetransSegs). */
export function retransmitted(namespace: { readonly path: string }): number {
  const [names = [], values = []] = inside(namespace, 'cat', '/proc/net/snmp')
    .split('\n')
    .filter(line => line.startsWith('Tcp:'))
    .map(line => line.split(' '));
  return Number(values[names.indexOf('RetransSegs')]);
}

/** Connects, says nothing, returns what the server says. */
export function get(from: { readonly path: string }, address: string, port: number): Promise<string> {
  return ask(from, 'nc', '-n', '-w5', address, String(port));
}

/** One datagram, and the answer. */
export async function getUdp(from: NamespaceHandle, address: string, port: number, timeoutMs = 1_500): Promise<string> {
  const socket = dgram.createSocket('udp4');
  const fd = linuxHost.kernel.openSocket(from, { kind: 'udp', address: '0.0.0.0', port: 0 });
  await new Promise<void>(resolve => socket.bind({ fd }, resolve));
  try {
    return await exchange(socket, Buffer.from('hello'), { address, port, timeoutMs });
  } finally {
    socket.close();
  }
}

async function exchange(
  socket: dgram.Socket,
  packet: Buffer,
  { address, port, timeoutMs }: { readonly address: string; readonly port: number; readonly timeoutMs: number },
): Promise<string> {
  return (await exchangeRaw(socket, packet, { address, port, timeoutMs }))?.toString() ?? 'failed';
}

export async function exchangeRaw(
  socket: dgram.Socket,
  packet: Buffer,
  { address, port, timeoutMs }: { readonly address: string; readonly port: number; readonly timeoutMs: number },
): Promise<Buffer | undefined> {
  return await new Promise(resolve => {
    const timer = setTimeout(() => finish(undefined), timeoutMs);
    const onMessage = (message: Buffer): void => finish(message);
    const finish = (message: Buffer | undefined): void => {
      clearTimeout(timer);
      socket.off('message', onMessage);
      resolve(message);
    };
    socket.on('message', onMessage);
    socket.send(packet, port, address, () => undefined);
  });
}

/** Says who it is and who asks, by TCP and UDP. */
export async function serve(namespace: NamespaceHandle, name: string, port: number): Promise<AsyncDisposable> {
  const { kernel } = linuxHost;
  const tcp = net.createServer(socket => {
    socket.on('error', () => socket.destroy());
    socket.end(`${name} sees ${socket.remoteAddress}\n`);
  });
  const fd = kernel.openSocket(namespace, { kind: 'tcp', address: '0.0.0.0', port });
  await new Promise<void>(resolve => tcp.listen({ fd }, resolve));
  const udp = dgram.createSocket('udp4');
  udp.on('message', (_message, from) =>
    udp.send(`${name} sees ${from.address}`, from.port, from.address, () => undefined),
  );
  const udpFd = kernel.openSocket(namespace, { kind: 'udp', address: '0.0.0.0', port });
  await new Promise<void>(resolve => udp.bind({ fd: udpFd }, resolve));
  return {
    [Symbol.asyncDispose]: async () => {
      udp.close();
      await new Promise(resolve => tcp.close(resolve));
    },
  };
}

// ---- what managers would send

export const id = <Id extends string>(text: string): Id => asId<Id>(text.padEnd(25, '0'));

export const nodeId = (number: number): NodeId => id<NodeId>(`node${number}`);

export function nodeItem(node: LabNode): TableItem {
  return {
    key: `node/${nodeId(node.number)}`,
    value: {
      kind: 'node',
      nodeId: nodeId(node.number),
      name: `rack${node.number}`,
      tunnelIndex: node.number,
      dataAddresses: [node.address],
      dataPort,
    },
  };
}

const open = { closed: false, allowed: [], metadata: false };

export function networkItem(
  name: string,
  subnet: string,
  internal = false,
  policy: Partial<TableNetwork> = {},
): TableItem {
  const networkId = id<NetworkId>(name);
  const value = { networkId, name, subnets: [subnet], internal, driver: 'overlay' as const, ...open, ...policy };
  return { key: `network/${networkId}`, value: { kind: 'network', ...value } };
}

export interface ServiceOptions {
  readonly name: string;
  readonly stack?: string;
  readonly network?: string;
  readonly vip?: string;
  readonly sticky?: boolean;
  readonly ports?: readonly {
    published: number;
    target: number;
    protocol?: 'tcp' | 'udp';
    mode?: 'ingress' | 'host' | 'local';
  }[];
  readonly aliases?: readonly string[];
}

export function serviceItem(options: ServiceOptions): TableItem {
  const { name, stack = '', network = 'net1', vip, sticky = false, ports = [], aliases = [] } = options;
  const networkId = id<NetworkId>(network);
  return {
    key: `service/${id<ServiceId>(name)}`,
    value: {
      kind: 'service',
      serviceId: id<ServiceId>(name),
      name,
      stack,
      endpointMode: vip === undefined ? 'dnsrr' : sticky ? 'vip-sticky' : 'vip',
      vips: vip === undefined ? [] : [{ networkId, addresses: [vip] }],
      ports: ports.map(port => ({ protocol: 'tcp', mode: 'ingress', ...port })),
      networks: [{ network: networkId, aliases: [name, ...aliases] }],
    },
  };
}

export interface EndpointOptions {
  readonly task: string;
  readonly service: string;
  readonly node: number;
  readonly slot: number;
  readonly address: string;
  readonly network?: string;
  readonly serving?: boolean;
}

export function endpointItem(options: EndpointOptions): TableItem {
  const { task, service, node, slot, address, network = 'net1', serving = true } = options;
  return {
    key: `endpoint/${id<TaskId>(task)}`,
    value: {
      kind: 'endpoint',
      taskId: id<TaskId>(task),
      serviceId: id<ServiceId>(service),
      nodeId: nodeId(node),
      slot,
      addresses: [{ networkId: id<NetworkId>(network), addresses: [address] }],
      serving,
    },
  };
}

export function tables(...items: readonly TableItem[]): Map<string, TableItem> {
  return new Map(items.map(item => [item.key, item]));
}

export function taskOf(options: EndpointOptions & { readonly stack?: string; readonly dns?: readonly string[] }): Task {
  const { task, service, node, slot, address, network = 'net1', stack = '', dns } = options;
  const networkId = id<NetworkId>(network);
  return {
    id: id<TaskId>(task),
    meta: { version: 1, createdAtMs: 0, updatedAtMs: 0, owner: 'system' },
    serviceId: id<ServiceId>(service),
    serviceName: service,
    stack,
    slot,
    nodeId: nodeId(node),
    spec: {
      containers: dns === undefined ? [] : [{ ...containerDefaults(), dns }],
      restart: { condition: 'any', attemptsMax: 0, windowMs: 0 },
      placement: { constraints: [], perNodeMax: 0, spread: [] },
      networks: [{ network: networkId, aliases: [] }],
      runtime: '',
      force: 0,
    },
    specVersion: 1,
    desired: 'running',
    status: {
      state: 'preparing',
      sinceMs: 0,
      message: '',
      error: '',
      errorCode: '',
      outOfMemory: false,
      attempt: 1,
      health: '',
      ready: '',
      containers: [],
    },
    endpoints: [{ networkId, addresses: [address] }],
    ports: [],
    startAfterMs: 0,
    failures: 0,
    superseded: false,
  };
}

export async function configure(node: LabNode): Promise<void> {
  await node.stack.recover();
  await node.stack.configure({
    nodeId: nodeId(node.number),
    tunnelIndex: node.number,
    dataAddress: node.address,
    dataPort,
    ...clusterVnis,
  });
}
