// `npm run bench -- [GROUP…] [--json] [--peer]`: measures, prints a table or a line of JSON per metric. A group is a file
// beside this one that exports `async function* metrics({ peer, signal, say })` and yields
// { metric, value, unit, samples, peer?, ratio? }. Groups clean up after themselves, also when interrupted.
import { parseArgs } from 'node:util';

const groups = {
  node: './node.mjs',
  cluster: './cluster.mjs',
  overlay: './overlay.mjs',
  traffic: './overlay-traffic.mjs',
  raft: './raft.mjs',
  restart: './restart.mjs',
  engine: './engine.mjs',
  managers: './managers.mjs',
  stats: './stats-cost.mjs',
  image: './image.mjs',
  exec: './exec.mjs',
  idle: './idle.mjs',
  loss: './loss.mjs',
  wireguard: './wireguard.mjs',
};
/** Parts of `managers`. */
const parts = {
  creates: ['./managers.mjs', 'creates'],
  failover: ['./managers-failover.mjs', 'failovers'],
  puts: ['./managers-puts.mjs', 'puts'],
  agents: ['./managers-agents.mjs', 'agents'],
};
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    peer: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
const chosen = positionals.length > 0 ? positionals : Object.keys(groups);
const unknown = chosen.find(name => !Object.hasOwn(groups, name) && !Object.hasOwn(parts, name));
if (values.help || unknown !== undefined) {
  if (unknown !== undefined) process.stderr.write(`error: there is no group "${unknown}"\n`);
  process.stderr.write(
    `Usage: npm run bench -- [GROUP…] [--json] [--peer]\n\nGroups: ${Object.keys(groups).join(', ')}\nParts of managers: ${Object.keys(parts).join(', ')}\n`,
  );
  process.exit(unknown === undefined ? 0 : 2);
}

const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => interrupted.abort(new Error('interrupted')));

const say = text => process.stderr.write(`${text}\n`);
let failed = false;
if (!values.json)
  process.stdout.write(
    `${'METRIC'.padEnd(30)}${'VALUE'.padStart(12)}  ${'UNIT'.padEnd(8)}${'PEER'.padStart(12)}${'RATIO'.padStart(8)}  SAMPLES\n`,
  );
for (const name of chosen) {
  if (interrupted.signal.aborted) break;
  try {
    const [file, part] = parts[name] ?? [groups[name], 'metrics'];
    const { [part]: metrics } = await import(file);
    for await (const row of metrics({ peer: values.peer, signal: interrupted.signal, say })) {
      print(row);
      if (interrupted.signal.aborted) break;
    }
  } catch (error) {
    failed = true;
    say(`error: group ${name}: ${error.stack ?? error}`);
  }
}
process.exit(failed || interrupted.signal.aborted ? 1 : 0);

function print(row) {
  if (values.json) return void process.stdout.write(`${JSON.stringify(row)}\n`);
  const number = value => (value === undefined ? '-' : value >= 100 ? value.toFixed(0) : value.toFixed(2));
  const samples = row.samples?.map(number).join(' ') ?? '';
  process.stdout.write(
    `${row.metric.padEnd(30)}${number(row.value).padStart(12)}  ${(row.unit ?? '').padEnd(8)}${number(row.peer).padStart(12)}${number(row.ratio).padStart(8)}  ${samples}\n`,
  );
}
