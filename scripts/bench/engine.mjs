// The task engine of one node without managers: tasks one after the other, and a thousand at once.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { openDevCluster, sleeperSpec, timeCreate, timeRemove } from './dev-cluster.mjs';
import { metric, percentile } from './stats.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const rounds = 200;
const many = 1000;
/** As bin/coveyd starts the daemon. */
const daemonFlags = ['--max-semi-space-size=1', '--optimize-for-size', '--no-maglev'];

export async function* metrics({ signal, say }) {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [...daemonFlags, join(here, 'engine-child.mjs'), String(rounds)],
    { signal },
  );
  const starts = JSON.parse(stdout);
  yield metric('start_p50_ms', 'ms', starts);
  yield { ...metric('start_p99_ms', 'ms', starts), value: percentile(starts, 0.99) };

  await using cluster = await openDevCluster({ name: 'be', workers: 0, signal });
  say(`one node up; ${many} containers`);
  const before = availableMib();
  const { ms, service } = await timeCreate(cluster, sleeperSpec('thousand', many), many);
  yield metric('create_1000_s', 's', [ms / 1000]);
  yield metric('per_container_1000_mib', 'MiB', [(before - availableMib()) / many]);
  yield metric('remove_1000_s', 's', [(await timeRemove(cluster, service)) / 1000]);
}

function availableMib() {
  return Number(/^MemAvailable:\s+(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]) / 1024;
}
