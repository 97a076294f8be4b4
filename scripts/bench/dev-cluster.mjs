// A throw-away dev-cluster for a group of measurements, and typed calls to its first node.
import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');

/** Starts it; the result is an AsyncDisposable that takes it down. */
export async function openDevCluster({ name, workers, signal }) {
  const run = (...args) =>
    execFileSync(join(root, 'scripts/dev-cluster'), [...args, '--name', name, '--json'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  run('down');
  const { nodes } = JSON.parse(run('up', '--workers', String(workers)));
  const { makeCalls } = await import(join(root, 'dist/src/grpc.js'));
  const { openWire } = await import(join(root, 'dist/src/wire.js'));
  const wire = openWire();
  const client = new grpc.Client(`unix:${nodes[0].socket}`, grpc.credentials.createInsecure());
  return {
    nodes,
    run,
    control: makeCalls(client, 'Control', wire),
    local: makeCalls(client, 'Local', wire),
    covey: (index, ...args) =>
      execFileSync(
        'nsenter',
        [
          `--net=/run/netns/${nodes[index - 1].namespace}`,
          join(root, 'bin/covey'),
          '--socket',
          nodes[index - 1].socket,
          ...args,
        ],
        { encoding: 'utf8' },
      ),
    signal,
    [Symbol.asyncDispose]: async () => {
      client.close();
      run('down');
    },
  };
}

/** A spec of a service of hello:1 that ends at once on SIGTERM, as the peer's is. */
export function sleeperSpec(serviceName, replicas, changes = {}) {
  const container = {
    name: '',
    image: 'hello:1',
    entrypoint: [],
    command: ['/bin/sh', '-c', 'trap "exit 0" TERM; sleep 100000 & wait'],
    env: [],
    workingDir: '',
    user: '',
    groups: [],
    hostname: '',
    labels: {},
    mounts: [],
    stopSignal: '',
    init: false,
    tty: false,
    stdin: false,
    capAdd: [],
    capDrop: [],
    readOnly: false,
    ulimits: [],
    sysctls: {},
    secrets: [],
    configs: [],
    shmBytes: 0,
    extraHosts: [],
    dns: [],
    dnsSearch: [],
    dnsOptions: [],
  };
  return {
    name: serviceName,
    labels: {},
    stack: '',
    mode: { kind: 'replicated', replicas },
    ports: [],
    endpointMode: 'vip',
    task: {
      containers: [container],
      restart: { condition: 'any', attemptsMax: 0, windowMs: 0 },
      placement: { constraints: [], perNodeMax: 0 },
      networks: [],
      runtime: '',
      force: 0,
      ...changes,
    },
  };
}

/** Milliseconds from the call to `replicas` running tasks, seen through a watch that was open before. */
export async function timeCreate(cluster, spec, replicas) {
  const events = cluster.control
    .watch({ tables: ['task'], service: '', stack: '' }, { signal: cluster.signal })
    [Symbol.asyncIterator]();
  const next = async () => (await events.next()).value.event;
  while ((await next()).kind !== 'synced');
  const running = new Set();
  const begin = performance.now();
  const created = cluster.control.createService({ spec }, { signal: cluster.signal });
  const service = await created;
  for (;;) {
    if (running.size >= replicas) break;
    const event = await next();
    if (event.kind === 'task' && event.serviceId === service.id && event.status.state === 'running')
      running.add(event.id);
  }
  const ms = performance.now() - begin;
  await events.return?.();
  return { ms, service };
}

/** Milliseconds from the call to the last task gone from the store. */
export async function timeRemove(cluster, service) {
  const events = cluster.control
    .watch({ tables: ['task', 'service'], service: '', stack: '' }, { signal: cluster.signal })
    [Symbol.asyncIterator]();
  const tasks = new Set();
  const next = async () => (await events.next()).value.event;
  for (let event = await next(); event.kind !== 'synced'; event = await next())
    if (event.kind === 'task' && event.serviceId === service.id) tasks.add(event.id);
  const begin = performance.now();
  await cluster.control.removeService({ object: service.id }, { signal: cluster.signal });
  while (tasks.size > 0) {
    const event = await next();
    if (event.kind === 'deletion') tasks.delete(event.id);
  }
  const ms = performance.now() - begin;
  await events.return?.();
  return ms;
}
