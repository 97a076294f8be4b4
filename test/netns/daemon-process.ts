/** The network of a lab's node in a process of its own, which may be killed (daemon-child.ts). */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { DaemonWork } from './daemon-child.js';
import { clusterVnis, dataPort, type LabNode, nodeId } from './lab.js';

/** What the managers tell a node of a lab about itself. */
export function identityOf(node: LabNode) {
  return { nodeId: nodeId(node.number), tunnelIndex: node.number, dataAddress: node.address, dataPort, ...clusterVnis };
}

/** Ready when its tasks are attached and its tables shown. */
export async function startDaemon(node: LabNode, work: Pick<DaemonWork, 'tasks' | 'items'>): Promise<ChildProcess> {
  const { runDir, dataDir } = node;
  const argument = {
    ...work,
    namespacePath: node.namespace.path,
    prefix: 'covey',
    runDir,
    dataDir,
    identity: identityOf(node),
  };
  const path = fileURLToPath(new URL('./daemon-child.js', import.meta.url));
  const child = spawn(process.execPath, [path, JSON.stringify(argument)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [text] = await once(child.stdout, 'data');
  if (!String(text).startsWith('ready')) throw new Error(`daemon says ${text}`);
  return child;
}
