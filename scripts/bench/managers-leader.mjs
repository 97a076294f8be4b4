// Who leads a dev-cluster, and whether all of it is well again. Shared by the measurements of managers.
import { setTimeout as sleep } from 'node:timers/promises';

/** Index of the node that leads, as node `asked` sees it. */
export async function leaderOf(cluster, asked, signal) {
  for (;;) {
    try {
      const answer = await cluster.controlOf(asked).listNodes({ objects: [], stack: '' }, { signal, timeoutMs: 5_000 });
      const leader = answer.nodes.find(node => node.id === answer.leaderId);
      const index = cluster.nodes.findIndex(node => node.name === leader?.spec.name);
      if (index >= 0) return index + 1;
    } catch (error) {
      if (signal.aborted) throw error;
    }
    await sleep(50);
  }
}

export async function untilAllBack(cluster, asked, signal) {
  for (const index of cluster.nodes.keys()) await leaderOf(cluster, index + 1, signal);
  for (;;) {
    const { nodes } = await cluster
      .controlOf(asked)
      .listNodes({ objects: [], stack: '' }, { signal, timeoutMs: 10_000 });
    if (nodes.every(node => node.status.state === 'ready')) break;
    await sleep(50);
  }
  await sleep(1_000);
}
