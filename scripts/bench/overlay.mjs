// Measures the network of a node: a container's link, and a change with many services, in network namespaces of its own; and how
// long nodes take to acknowledge a change. `metrics` yields {metric, value, unit, samples}; run by main.mjs, or alone:
//   scripts/node scripts/bench/overlay.mjs
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { acknowledgements } from './overlay-acks.mjs';

const built = new URL('../../dist/src/', import.meta.url);
const attachRounds = 100;

const median = samples => [...samples].sort((a, b) => a - b)[samples.length >> 1];
const round = value => Math.round(value * 1000) / 1000;

function metric(name, unit, samples) {
  return { metric: name, value: round(median(samples)), unit, samples: samples.map(round) };
}

export async function* metrics(options = {}) {
  const { openNetworkStack } = await import(new URL('netns/index.js', built));
  const { linuxHost } = await import(new URL('host-linux/index.js', built));
  const { makeTelemetry } = await import(new URL('telemetry.js', built));
  // Timers of the daemon do not keep a process alive.
  const alive = setInterval(() => undefined, 1_000);
  const directory = mkdtempSync(join(tmpdir(), 'covey-bench-overlay-'));
  const machine = linuxHost.kernel.makeNetworkNamespace(join(directory, 'machine'));
  const nothing = () => undefined;
  const log = { debug: nothing, info: nothing, warn: console.error, error: console.error, with: () => log };
  const stack = openNetworkStack({
    host: linuxHost,
    telemetry: makeTelemetry(log),
    prefix: 'bench',
    runDir: join(directory, 'run'),
    dataDir: join(directory, 'data'),
    namespace: machine,
    upstreams: () => [],
  });
  try {
    await stack.recover();
    await stack.configure({
      nodeId: id('node1'),
      tunnelIndex: 1,
      dataAddress: '127.0.0.1',
      dataPort: 7378,
      vniOverlay: 0x300000,
      vniIngress: 0x300001,
    });
    yield metric('attach_ms', 'ms', await attachSamples(stack));
    yield metric('rules_1000_ms', 'ms', await ruleSamples(stack));
  } finally {
    clearInterval(alive);
    await stack.removeEverything();
    await stack[Symbol.asyncDispose]();
    linuxHost.kernel.closeNamespace(machine);
    linuxHost.kernel.removeNamespace(machine.path);
    rmSync(directory, { recursive: true, force: true });
  }
  yield* acknowledgements(options);
}

const id = text => text.padEnd(25, '0');
const never = new AbortController().signal;

/** Namespace, link, addresses, routes of one container after the other, as a burst of new tasks does it. */
async function attachSamples(stack) {
  const samples = [];
  const tasks = Array.from({ length: attachRounds }, (_, number) => task(number));
  for (const one of tasks) {
    const start = performance.now();
    await stack.attach(one, never);
    samples.push(performance.now() - start);
  }
  for (const one of tasks) await stack.detach(one.id);
  return samples;
}

/** A backend of one service changes, with 1,000 services of 3 backends: from the call to the kernel's commit. */
async function ruleSamples(stack) {
  const items = new Map();
  const put = (key, value) => items.set(key, { key, value });
  const networkId = id('net1');
  put(`network/${networkId}`, {
    kind: 'network',
    networkId,
    name: 'net1',
    subnets: ['10.64.0.0/12'],
    internal: false,
    driver: 'overlay',
    closed: false,
    allowed: [],
    metadata: false,
  });
  put(`node/${id('node2')}`, {
    kind: 'node',
    nodeId: id('node2'),
    name: 'node2',
    tunnelIndex: 2,
    dataAddresses: ['127.0.0.2'],
    dataPort: 7378,
  });
  const address = number => `10.${64 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`;
  const endpoint = (service, slot, serving) => {
    const taskId = id(`s${service}x${slot}`);
    const addresses = [{ networkId, addresses: [address(service * 4 + slot)] }];
    put(`endpoint/${taskId}`, {
      kind: 'endpoint',
      taskId,
      serviceId: id(`s${service}`),
      nodeId: id('node2'),
      slot,
      addresses,
      serving,
    });
  };
  for (let service = 1; service <= 1000; service += 1) {
    const serviceId = id(`s${service}`);
    const vips = [{ networkId, addresses: [address(service * 4)] }];
    const networks = [{ network: networkId, aliases: [`s${service}`] }];
    put(`service/${serviceId}`, {
      kind: 'service',
      serviceId,
      name: `s${service}`,
      stack: '',
      endpointMode: 'vip',
      vips,
      ports: [],
      networks,
    });
    for (let slot = 1; slot <= 3; slot += 1) endpoint(service, slot, true);
  }
  await stack.applyTables(new Map(items), never);
  const samples = [];
  for (let change = 0; change < 21; change += 1) {
    endpoint(500, 2, change % 2 !== 0);
    const start = performance.now();
    await stack.applyTables(new Map(items), never);
    samples.push(performance.now() - start);
  }
  return samples;
}

function task(number) {
  const networkId = id('net1');
  return {
    id: id(`t${number}`),
    serviceId: id('s0'),
    stack: '',
    spec: { networks: [{ network: networkId, aliases: [] }], containers: [] },
    endpoints: [{ networkId, addresses: [`10.65.${number >> 8}.${(number & 255) + 1}`] }],
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for await (const one of metrics())
    console.log(JSON.stringify({ ...one, samples: undefined }), 'max', Math.max(...one.samples));
}
