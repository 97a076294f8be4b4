// A thousand containers on one node and one overlay network. Must hold: all run; each answers by its own name, asked from inside
// of the network; the service's list of addresses holds each of them; after the removal links, namespaces, mounts, cgroups and
// directories are as they were. A round is one such thousand.
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { openDevCluster, sleeperSpec, timeCreate, timeRemove } from '../bench/dev-cluster.mjs';

const many = 1000;

export async function run({ rounds, say }) {
  const interrupted = new AbortController();
  let passed = 0;
  let failed = 0;
  await using cluster = await openDevCluster({ name: 'thou', workers: 0, signal: interrupted.signal });
  const [node] = cluster.nodes;
  const network = { name: 'wide', labels: {}, stack: '', driver: 'overlay', internal: false, attachable: false };
  await cluster.control.createNetwork(
    { spec: { ...network, subnets: ['10.77.0.0/20'] } },
    { signal: interrupted.signal, timeoutMs: 20_000 },
  );
  const networks = [{ network: 'wide', aliases: [] }];
  const asker = await timeCreate(cluster, sleeperSpec('asker', 1, { networks }), 1);
  await timeRemove(cluster, (await timeCreate(cluster, sleeperSpec('first', 1, { networks }), 1)).service);
  const before = await settled(() => countsOf(node));
  for (let round = 1; round <= rounds; round += 1) {
    const { ms, service } = await timeCreate(cluster, sleeperSpec('many', many, { networks }), many);
    say(`round ${round}: ${many} run after ${(ms / 1000).toFixed(1)} s`);
    const problems = [...silentOnes(cluster, say), ...missingAddresses(cluster)];
    const removeMs = await timeRemove(cluster, service);
    say(`round ${round}: removed after ${(removeMs / 1000).toFixed(1)} s`);
    const after = await settled(() => countsOf(node), before);
    if (JSON.stringify(after) !== JSON.stringify(before))
      problems.push(`left behind: ${JSON.stringify({ before, after })}`);
    for (const problem of problems) say(`round ${round}: ${problem}`);
    if (problems.length === 0) passed += 1;
    else failed += 1;
  }
  await timeRemove(cluster, asker.service);
  return { passed, failed };
}

/** Replicas that do not answer when they are called by name from inside of the network. */
function silentOnes(cluster, say) {
  const script = `for i in $(seq ${many}); do ping -c 1 -W 3 $i.many >/dev/null 2>&1 || echo $i; done`;
  const silent = inAsker(cluster, script).split('\n').filter(Boolean);
  say(`${many - silent.length} of ${many} answer by name`);
  return silent.length === 0 ? [] : [`do not answer by name: ${silent.slice(0, 20).join(' ')} (${silent.length})`];
}

/** Over TCP: no UDP answer holds so many. */
function missingAddresses(cluster) {
  const { runDir, dataDir } = cluster.nodes[0];
  const [first = ''] = fs.readdirSync(`${dataDir}/tasks`).filter(id => fs.existsSync(`${runDir}/netns/${id}`));
  const text = execFileSync(
    'nsenter',
    [`--net=${runDir}/netns/${first}`, 'dig', '+tcp', '+short', '@169.254.1.1', 'tasks.many'],
    { encoding: 'utf8', maxBuffer: 1024 * 1024 },
  );
  const addresses = new Set(text.match(/10\.77\.\d+\.\d+/g) ?? []);
  return addresses.size === many ? [] : [`tasks.many has ${addresses.size} addresses instead of ${many}`];
}

function inAsker(cluster, script) {
  const { socket, namespace } = cluster.nodes[0];
  return execFileSync(
    'nsenter',
    [`--net=/run/netns/${namespace}`, 'bin/covey', '--socket', socket, 'exec', 'asker.1', 'sh', '-c', script],
    { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 },
  );
}

/** How many there are of all that a container holds. */
function countsOf(node) {
  const names = folder => (fs.existsSync(folder) ? fs.readdirSync(folder).length : 0);
  const fabric = (...argv) =>
    execFileSync('nsenter', [`--net=${node.runDir}/netns/fabric`, ...argv], { encoding: 'utf8' }).split('\n').length;
  return {
    tasks: names(`${node.dataDir}/tasks`),
    bundles: names(`${node.runDir}/bundles`),
    exits: names(`${node.runDir}/exits`),
    namespaces: names(`${node.runDir}/netns`),
    mounts: fs
      .readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .filter(line => line.includes(node.dataDir) || line.includes(node.runDir)).length,
    cgroups: fs.globSync(`/sys/fs/cgroup/*/${node.prefix}/*/`).length,
    links: fabric('ip', '-br', 'link'),
    routes: fabric('ip', 'route'),
    neighbours: fabric('ip', 'neigh'),
    rules: fabric('nft', 'list', 'ruleset'),
  };
}

/** Read until it is as wanted, for 20 s at most: the kernel takes namespaces down a moment later. */
async function settled(read, wanted) {
  let seen = read();
  for (let tries = 0; tries < 200 && JSON.stringify(seen) !== JSON.stringify(wanted ?? {}); tries += 1) {
    await sleep(100);
    const next = read();
    if (wanted === undefined && tries > 10 && JSON.stringify(next) === JSON.stringify(seen)) return next;
    seen = next;
  }
  return seen;
}
