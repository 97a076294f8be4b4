// A throw-away dev-cluster for a group of measurements, and typed calls to its first node.
import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const { makeCalls } = await import(join(root, 'dist/src/grpc.js'));
const { openWire } = await import(join(root, 'dist/src/wire.js'));
const wire = openWire();

/** Starts it; the result is an AsyncDisposable that takes it down. `flags`: more of them for each daemon. */
export async function openDevCluster({ name, managers = 1, workers, flags = '', signal }) {
  const run = (...args) =>
    execFileSync(join(root, 'scripts/dev-cluster'), [...args, '--name', name, '--json'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, DEV_CLUSTER_FLAGS: flags },
    });
  run('down');
  const { nodes } = JSON.parse(run('up', '--managers', String(managers), '--workers', String(workers)));
  const clients = nodes.map(node => new grpc.Client(`unix:${node.socket}`, grpc.credentials.createInsecure()));
  const [client] = clients;
  return {
    nodes,
    run,
    control: makeCalls(client, 'Control', wire),
    controlOf: index => makeCalls(clients[index - 1], 'Control', wire),
    benchOf: index => makeCalls(clients[index - 1], 'Bench', wire),
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
      for (const one of clients) one.close();
      run('down');
    },
  };
}

/** A spec of a service of hello:1 that ends at once on SIGTERM, as the peer's is. What it does not say has its default. */
export function sleeperSpec(serviceName, replicas, changes = {}, userns = '') {
  const container = {
    ...defaultsOf('ContainerSpec'),
    image: 'hello:1',
    userns,
    command: ['/bin/sh', '-c', 'trap "exit 0" TERM; sleep 100000 & wait'],
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
      restart: defaultsOf('RestartPolicy'),
      placement: defaultsOf('Placement'),
      networks: [],
      runtime: '',
      force: 0,
      ...changes,
    },
  };
}

/** A message in which nothing is set, as the wire gives it. */
export function defaultsOf(message) {
  return wire.type(message).decode(new Uint8Array());
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

/** Milliseconds from the call that replaces all tasks of the service to the update being complete. */
export async function timeUpdate(cluster, { id }) {
  const { signal } = cluster;
  const events = cluster.control
    .watch({ tables: ['service'], service: id, stack: '' }, { signal })
    [Symbol.asyncIterator]();
  const next = async () => (await events.next()).value.event;
  let present;
  for (let event = await next(); event.kind !== 'synced'; event = await next()) present = event;
  const { spec, meta } = present;
  const force = spec.task.force + 1;
  const begin = performance.now();
  const changed = await cluster.control.updateService(
    { service: id, version: meta.version, spec: { ...spec, task: { ...spec.task, force } } },
    { signal },
  );
  for (;;) {
    const event = await next();
    if (event.kind !== 'service' || event.rollout?.specVersion !== changed.specVersion) continue;
    if (event.rollout.state === 'completed') break;
    if (event.rollout.state !== 'updating') throw new Error(`Cannot update: ${event.rollout.message}`);
  }
  const ms = performance.now() - begin;
  await events.return?.();
  return ms;
}
