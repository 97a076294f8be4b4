/**
 * A client that asks a published port again and again while something is done to the service behind it, and a server that ends as
 * a good one does. Used by tests that promise that clients notice nothing.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { DevCluster } from './dev-cluster.js';

/** After SIGTERM it takes who has come already, and ends when the last one has been answered. */
const finish = 'sleep 1; kill $!; while pidof httpd; do sleep 0.05; done; exit 0';
export const server = ['sh', '-c', `trap '${finish}' TERM; httpd -f -p 80 -h /www & wait`];

/** What a service needs for the promise: tasks are asked when they answer, not when they have started. */
export const readyCheck = ['--ready-http', ':80/'];

export interface Client {
  /** One line for each answer: "answered", or what was wrong. */
  readonly stop: () => Promise<readonly string[]>;
}

/** Asks as from node `from`, or from the network namespace `inside`. */
export function openClient(
  cluster: DevCluster,
  { from, url, inside }: { readonly from: number; readonly url: string; readonly inside?: string },
): Client {
  const ask = `said=$(curl -sS -f -m 20 -o /dev/null ${url} 2>&1) && echo answered || echo "failed: $said"`;
  const loop = `while :; do ${ask}; sleep 0.05; done`;
  const child = spawn(
    'nsenter',
    [`--net=${inside ?? `/run/netns/${cluster.node(from).namespace}`}`, 'sh', '-c', loop],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      detached: true,
    },
  );
  let text = '';
  child.stdout.on('data', chunk => {
    text += String(chunk);
  });
  const ended = once(child, 'close');
  return {
    stop: async () => {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      await ended;
      return text.trim().split('\n');
    },
  };
}
