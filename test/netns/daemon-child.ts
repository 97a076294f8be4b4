/**
 * A daemon's network alone, as a process that can be killed: opens the stack of one node of a lab, attaches what it is told to,
 * shows the tables, says "ready" and waits. Argument: a JSON text with DaemonWork.
 */
import { closeSync, openSync } from 'node:fs';
import type { TableItem, Task } from '../../src/gen/types.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { openNetworkStack } from '../../src/netns/index.js';
import type { NetworkIdentity } from '../../src/netns/types.js';
import { type Logger, makeTelemetry } from '../../src/telemetry.js';

export interface DaemonWork {
  readonly namespacePath: string;
  readonly prefix: string;
  readonly runDir: string;
  readonly dataDir: string;
  readonly identity: NetworkIdentity;
  readonly tasks: readonly Task[];
  readonly items: readonly TableItem[];
}

const work = JSON.parse(process.argv[2] ?? '{}') as DaemonWork;
const log: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: (message, fields) => process.stderr.write(`${message} ${JSON.stringify(fields)}\n`),
  error: (message, fields) => process.stderr.write(`${message} ${JSON.stringify(fields)}\n`),
  with: () => log,
};
const alive = setInterval(() => closeSync(openSync('/dev/null', 'r')), 60_000);
const { prefix, runDir, dataDir } = work;
const stack = openNetworkStack({
  host: linuxHost,
  telemetry: makeTelemetry(log),
  prefix,
  runDir,
  dataDir,
  namespace: linuxHost.kernel.openNamespace(work.namespacePath),
  upstreams: () => [],
});
const never = new AbortController().signal;
await stack.recover();
await stack.configure(work.identity);
for (const task of work.tasks) await stack.attach(task, never);
await stack.applyTables(new Map(work.items.map(item => [item.key, item])), never);
process.stdout.write('ready\n');
process.on('SIGTERM', () => {
  clearInterval(alive);
  void stack[Symbol.asyncDispose]();
});
