// Traffic between real containers of a dev-cluster, in one run: beside a bare kernel VXLAN, beside Docker Swarm's overlay (--peer),
// through a virtual address and a published port beside direct, and the resolver beside dnsmasq. Tools of the host, entered into
// the namespaces of containers, make the load; each figure is the median of rounds that alternate with what it is compared to.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { defaultsOf, openDevCluster, sleeperSpec, timeCreate } from './dev-cluster.mjs';
import { openPeer } from './peer-swarm.mjs';
import { metric, percentile } from './stats.mjs';

const rounds = 5;
const seconds = 2;
const connections = 4_000;
const vni = 4_242;
const published = 8_088;
const tools = {
  iperf3: 'iperf3',
  ab: 'apache2-utils',
  nginx: 'nginx-light',
  dnsperf: 'dnsperf',
  dnsmasq: 'dnsmasq-base',
};

export async function* metrics({ peer, signal, say }) {
  const missing = Object.entries(tools).filter(([tool]) => spawnSync('which', [tool]).status !== 0);
  if (missing.length > 0)
    throw new Error(`Cannot measure traffic: apt-get install ${missing.map(([, name]) => name).join(' ')}`);
  await using cluster = await openDevCluster({ name: 'bt', workers: 2, signal });
  const place = await openPlace(cluster);
  await using stack = new AsyncDisposableStack();
  stack.defer(() => place.close());
  say('three nodes up');
  const swarm = peer ? stack.use(await openPeer({ nodes: 2, signal, say })) : undefined;
  if (swarm === undefined) say('beside Swarm: --peer');
  yield* throughput(place, swarm?.pair());
  yield* rates(place);
  yield* names(place);
}

/** Who measures from where: a container on node 1, one on node 2, a pair of bare tunnel ends, this machine as a client outside. */
async function openPlace(cluster) {
  const { nodes, control, signal } = cluster;
  const network = await control.createNetwork(
    {
      spec: {
        name: 'bench',
        labels: {},
        stack: '',
        driver: 'overlay',
        subnets: [],
        internal: false,
        attachable: false,
      },
    },
    { signal },
  );
  const addressOf = list => list.find(({ networkId }) => networkId === network.id).addresses[0];
  const on = node => ({
    placement: { ...defaultsOf('Placement'), constraints: [`node.hostname==${node.name}`] },
  });
  const container = async (name, node, more = {}) => {
    const base = sleeperSpec(name, 1, { ...on(node), networks: [{ network: network.id, aliases: [] }] });
    await timeCreate(cluster, { ...base, ...more }, 1);
    const { tasks } = await control.listTasks(
      { tasks: [], service: name, node: '', stack: '', current: true },
      { signal },
    );
    const [task] = tasks;
    return { pid: task.status.pid, address: addressOf(task.endpoints) };
  };
  const ports = [{ protocol: 'tcp', target: 80, published, mode: 'ingress' }];
  const near = await container('near', nodes[0]);
  const web = await container('web', nodes[0], {});
  const far = await container('far', nodes[1], { ports });
  const services = (await control.listServices({ objects: [], stack: '' }, { signal })).services;
  const vip = addressOf(services.find(({ spec }) => spec.name === 'web').vips);
  const directory = fs.mkdtempSync(join(tmpdir(), 'covey-bench-traffic-'));
  const servers = [web, far].map(({ pid }, at) => startNginx(`/proc/${pid}/ns/net`, join(directory, `nginx${at}`), 80));
  servers.push(startNginx(`/run/netns/${nodes[1].namespace}`, join(directory, 'nginx-host'), 8_000));
  const bare = [0, 1].map(at => bareTunnel(nodes[at], nodes[1 - at], at));
  return {
    near,
    far,
    web,
    vip,
    bare,
    nodes,
    directory,
    signal,
    close: async () => {
      for (const server of servers) server.kill('SIGTERM');
      for (const { namespace } of bare) spawnSync('ip', ['netns', 'delete', namespace]);
      await sleep(200);
      fs.rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** A VXLAN device of the kernel with one peer, in a namespace of its own: no veth, no routes, no rules. */
function bareTunnel(node, other, at) {
  const namespace = `covey-bt-bare-${at}`;
  const ip = (...args) => execFileSync('ip', args);
  ip('netns', 'add', namespace);
  const link = ['type', 'vxlan', 'id', String(vni), 'dstport', '4789', 'local', node.address, 'remote', other.address];
  ip('-n', node.namespace, 'link', 'add', 'bare0', 'mtu', '1450', ...link);
  ip('-n', node.namespace, 'link', 'set', 'bare0', 'netns', namespace);
  ip('-n', namespace, 'address', 'add', `10.99.0.${at + 1}/24`, 'dev', 'bare0');
  for (const device of ['lo', 'bare0']) ip('-n', namespace, 'link', 'set', device, 'up');
  return { namespace, path: `/run/netns/${namespace}`, address: `10.99.0.${at + 1}` };
}

function startNginx(namespace, directory, port) {
  fs.mkdirSync(directory);
  fs.writeFileSync(
    join(directory, 'nginx.conf'),
    `daemon off; master_process off; pid ${directory}/pid; error_log stderr crit;
events { worker_connections 4096; }
http { access_log off; keepalive_timeout 0; ${['body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(kind => `${kind === 'body' ? 'client_body' : kind}_temp_path ${directory}/${kind};`).join(' ')}
server { listen ${port} backlog=4096; location / { return 200 "x"; } } }`,
  );
  return spawn('nsenter', [`--net=${namespace}`, 'nginx', '-c', join(directory, 'nginx.conf')], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

const inside = (path, argv) =>
  execFileSync('nsenter', [`--net=${path}`, ...argv], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
const namespaceOf = ({ pid, path }) => path ?? `/proc/${pid}/ns/net`;

/** One run of iperf3 from one end to the other; its report. */
async function iperf(from, to, options) {
  const server = spawn('nsenter', [`--net=${namespaceOf(to)}`, 'iperf3', '-s', '-1'], { stdio: 'ignore' });
  try {
    for (let tries = 0; ; tries += 1) {
      if (inside(namespaceOf(to), ['ss', '-Hltn', 'sport', '=', ':5201']).trim() !== '') break;
      if (tries > 100) throw new Error('Cannot measure: iperf3 does not listen');
      await sleep(20);
    }
    return JSON.parse(
      inside(namespaceOf(from), ['iperf3', '-c', to.address, '-t', String(seconds), '-O', '0.5', '-J', ...options]),
    ).end;
  } finally {
    server.kill('SIGKILL');
  }
}

async function* throughput(place, swarm) {
  const ours = [place.near, place.far];
  const gigabits = async ([from, to], ...options) =>
    (await iperf(from, to, options)).sum_received.bits_per_second / 1e9;
  const packets = async ([from, to]) => {
    const { sum } = await iperf(from, to, ['-u', '-b', '0', '-l', '1400']);
    return (sum.packets - sum.lost_packets) / sum.seconds / 1_000;
  };
  const trips = async ([from, to]) => {
    const text = inside(namespaceOf(from), ['ping', '-q', '-f', '-c', '4000', to.address]);
    return Number(/= [\d.]+\/([\d.]+)\//.exec(text)?.[1]) * 1_000;
  };
  const kinds = [
    ['tcp_gbit', 'Gbit/s', pair => gigabits(pair)],
    ['tcp_4_gbit', 'Gbit/s', pair => gigabits(pair, '-P', '4')],
    ['udp_kpps', 'k/s', packets],
    ['trip_us', 'us', trips],
  ];
  for (const [name, unit, measure] of kinds) {
    const samples = { ours: [], bare: [], swarm: [] };
    for (let round = 0; round < rounds; round += 1) {
      place.signal.throwIfAborted();
      samples.ours.push(await measure(ours));
      samples.bare.push(await measure(place.bare));
      if (swarm !== undefined) samples.swarm.push(await measure(swarm));
    }
    yield metric(`overlay_${name}_vs_vxlan`, unit, samples.ours, samples.bare);
    if (swarm !== undefined) yield metric(`overlay_${name}_vs_swarm`, unit, samples.ours, samples.swarm);
    if (name === 'tcp_gbit') yield ratio('overlay_vs_vxlan', samples.ours, samples.bare);
  }
}

/** The median of the ratios of neighbouring rounds. */
function ratio(name, ours, theirs) {
  return metric(
    name,
    'ratio',
    ours.map((value, at) => value / theirs[at]),
  );
}

function* rates(place) {
  const { near, web, vip, far, nodes } = place;
  const perSecond = (path, url) => {
    const argv = ['ab', '-q', '-n', String(connections), '-c', '4', url];
    const text = path === undefined ? execFileSync(argv[0], argv.slice(1), { encoding: 'utf8' }) : inside(path, argv);
    if (/^(Failed|Non-2xx)[^\n]*: +[1-9]/m.test(text)) throw new Error(`Cannot measure ${url}: ${text}`);
    return Number(/Requests per second: +([\d.]+)/.exec(text)?.[1]);
  };
  const from = namespaceOf(near);
  const samples = { vip: [], direct: [], remote: [], published: [], host: [] };
  for (let round = 0; round < rounds; round += 1) {
    place.signal.throwIfAborted();
    samples.direct.push(perSecond(from, `http://${web.address}/`));
    samples.vip.push(perSecond(from, `http://${vip}/`));
    samples.remote.push(perSecond(from, `http://${far.address}/`));
    samples.host.push(perSecond(undefined, `http://${nodes[1].address}:8000/`));
    samples.published.push(perSecond(undefined, `http://${nodes[2].address}:${published}/`));
  }
  yield metric('vip_conn_per_s', '1/s', samples.vip, samples.direct);
  yield ratio('vip_conn_ratio', samples.vip, samples.direct);
  yield metric('overlay_conn_per_s', '1/s', samples.remote, samples.direct);
  yield metric('published_remote_conn_per_s', '1/s', samples.published, samples.host);
  yield ratio('published_remote_conn_ratio', samples.published, samples.host);
}

/** The resolver as a container asks it, beside dnsmasq with the same name in the namespace of a node. */
async function* names(place) {
  const { near, nodes, directory, vip } = place;
  const questions = join(directory, 'questions');
  fs.writeFileSync(questions, 'web A\n');
  fs.writeFileSync(join(directory, 'hosts'), `${vip} web\n`);
  const path = `/run/netns/${nodes[0].namespace}`;
  const options = ['-k', '-R', '-h', '-p', '5353', '-H', join(directory, 'hosts'), '-c', '1000', '-u', 'root'];
  const dnsmasq = spawn('nsenter', [`--net=${path}`, 'dnsmasq', ...options], { stdio: 'ignore' });
  const ask = (namespace, server, port, ...more) =>
    inside(namespace, ['dnsperf', '-s', server, '-p', String(port), '-d', questions, '-l', String(seconds), ...more]);
  const perSecond = text => {
    const lost = Number(/Queries lost: +(\d+)/.exec(text)?.[1]);
    const sent = Number(/Queries sent: +(\d+)/.exec(text)?.[1]);
    if (!/NOERROR \d+ \(100\.00%\)/.test(text) || lost > sent / 100) throw new Error(`Cannot measure names: ${text}`);
    return Number(/Queries per second: +([\d.]+)/.exec(text)?.[1]);
  };
  try {
    await sleep(300);
    const samples = { ours: [], peer: [] };
    for (let round = 0; round < rounds; round += 1) {
      place.signal.throwIfAborted();
      samples.ours.push(perSecond(ask(namespaceOf(near), '169.254.1.1', 53, '-q', '100')));
      samples.peer.push(perSecond(ask(path, '127.0.0.1', 5_353, '-q', '100')));
    }
    yield metric('dns_per_s', '1/s', samples.ours, samples.peer);
    const latencies = text =>
      [...text.matchAll(/^> NOERROR \S+ A ([\d.]+)/gm)].map(([, spent]) => Number(spent) * 1_000);
    const paced = ['-Q', '2000', '-v'];
    const p99 = { ours: [], peer: [] };
    for (let round = 0; round < rounds; round += 1) {
      p99.ours.push(percentile(latencies(ask(namespaceOf(near), '169.254.1.1', 53, ...paced)), 0.99));
      p99.peer.push(percentile(latencies(ask(path, '127.0.0.1', 5_353, ...paced)), 0.99));
    }
    yield metric('dns_p99_ms', 'ms', p99.ours, p99.peer);
  } finally {
    dnsmasq.kill('SIGKILL');
  }
}
