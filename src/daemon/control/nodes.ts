/**
 * Nodes as people see and change them.
 *
 * Called by control.ts. Not here: joining and leaving (membership/, ca/), what a drained node's tasks do (orchestrate/).
 */
import { CoveyError } from '../../errors.js';
import type { Node } from '../../gen/types.js';
import type { CallContext } from '../../grpc.js';
import { asId } from '../../ids.js';
import type { View } from '../../raft/store.js';
import { planNodeRemoval } from '../ca/removal.js';
import { withoutKeys } from '../keys/control.js';
import { principalOf } from '../rpc/roles.js';
import { checkLabels } from './check.js';
import { getObject, selectObjects } from './find.js';
import { type ControlHandlers, change, changeOnce, type Parts } from './parts.js';

type NodeHandlers = Pick<ControlHandlers, 'getCluster' | 'listNodes' | 'updateNode' | 'setNodeRole' | 'removeNode'>;

/** Tasks orphaned in one transaction. */
const removalWritesMax = 150;

export function nodeHandlers(parts: Parts): NodeHandlers {
  const { store, leaderId } = parts;
  return {
    getCluster: async () => {
      for (const cluster of store.view().list('cluster')) return withoutKeys(cluster);
      throw new CoveyError('not-in-cluster', 'Cannot show the cluster', { state: 'the store has none yet' });
    },
    listNodes: async request => {
      const view = store.view();
      const tasks: Record<string, number> = {};
      for (const task of view.list('task')) {
        if (task.status.state === 'running') tasks[task.nodeId] = (tasks[task.nodeId] ?? 0) + 1;
      }
      const leader = leaderId();
      const nodes = selectObjects(view, 'node', request);
      const lastHeardMs = Object.fromEntries(nodes.flatMap(node => heardEntry(parts, node)));
      return { nodes, tasks, leaderId: leader ?? asId(''), reachable: parts.reachable(), lastHeardMs };
    },
    updateNode: async (request, context) => {
      const { id } = getObject(store.view(), 'node', request.node);
      checkLabels(request.labelsAdd, 'labelsAdd');
      await changeOnce(parts, context, view => {
        const node = getObject(view, 'node', id);
        checkVersion(node, request.version);
        return [
          { kind: 'put', table: 'node', object: { ...node, spec: specAfter(node, request, parts.clock.wallMs()) } },
        ];
      });
      return getObject(store.view(), 'node', id);
    },
    setNodeRole: async ({ node: text, role }, context) => {
      const { id } = getObject(store.view(), 'node', text);
      const asked = { principal: principalOf(context.caller), signal: context.signal };
      if (role === 'manager') await parts.roles.takeIn(id, asked);
      else await parts.roles.letGo(id, asked);
      return getObject(store.view(), 'node', id);
    },
    removeNode: async ({ node: text, force }, context) => {
      const node = await findOnce(parts, context, text);
      if (node === undefined) return { id: text };
      const { id } = node;
      checkRemoval(node, { managers: [...store.view().list('node')].filter(isManager), force });
      await parts.roles.letGo(id, { principal: principalOf(context.caller), signal: context.signal });
      const plan = (view: View) =>
        planNodeRemoval(view, { nodeId: id, nowMs: parts.clock.wallMs(), writesMax: removalWritesMax });
      for (let isGone = false; !isGone; ) {
        // The last transaction is the one that the command is known by.
        const isLast = !plan(store.view()).more;
        await (isLast ? changeOnce : change)(parts, context, view => {
          const node = view.find('node', id);
          if (node !== undefined) checkRemoval(node, { managers: [...view.list('node')].filter(isManager), force });
          const { more, writes } = plan(view);
          isGone = !more;
          return isLast && more ? [] : writes;
        });
      }
      return { id };
    },
  };
}

/** When it was last heard: as the leader knows it, or as the store says of one that is silent. */
function heardEntry({ silentMs, clock }: Parts, { id, status }: Node): readonly (readonly [string, number])[] {
  const silent = silentMs(id);
  const atMs = silent === undefined ? status.silentSinceMs : Math.round(clock.wallMs() - silent);
  return atMs === undefined ? [] : [[id, atMs]];
}

/** The node to be removed; undefined when this very command has removed it before. */
async function findOnce(parts: Parts, context: CallContext, text: string): Promise<Node | undefined> {
  try {
    return getObject(parts.store.view(), 'node', text);
  } catch (error) {
    await changeOnce(parts, context, () => {
      throw error;
    });
    return undefined;
  }
}

function isManager(node: Node): boolean {
  return node.role === 'manager';
}

interface NodeChange {
  readonly availability?: Node['spec']['availability'] | undefined;
  readonly labelsAdd: Readonly<Record<string, string>>;
  readonly labelsRemove: readonly string[];
  readonly link?: Node['spec']['link'] | undefined;
  readonly drainWithinMs?: number | undefined;
}

function specAfter({ spec }: Node, change: NodeChange, nowMs: number): Node['spec'] {
  const { availability = spec.availability, labelsAdd, labelsRemove, link, drainWithinMs } = change;
  const kept = Object.entries(spec.labels).filter(([key]) => !labelsRemove.includes(key));
  // A drain that is asked for anew has the deadline that is asked for, or none.
  const keepsDeadline = change.availability === undefined && drainWithinMs === undefined;
  const deadlineMs = drainWithinMs === undefined ? undefined : nowMs + drainWithinMs;
  return {
    ...spec,
    labels: { ...Object.fromEntries(kept), ...labelsAdd },
    availability,
    link: link ?? spec.link,
    drainUntilMs: keepsDeadline ? spec.drainUntilMs : availability === 'drain' ? deadlineMs : undefined,
  };
}

/** 0 means: whatever it is now. */
function checkVersion(node: Node, version: number): void {
  if (version === 0 || version === node.meta.version) return;
  const state = `its version is ${node.meta.version}, the change is based on ${version}`;
  throw new CoveyError('stale-version', `Cannot update node "${node.spec.name}": it was changed meanwhile`, { state });
}

function checkRemoval(
  node: Node,
  { managers, force }: { readonly managers: readonly Node[]; readonly force: boolean },
): void {
  const what = `Cannot remove node "${node.spec.name}"`;
  if (isManager(node) && managers.length === 1) {
    throw new CoveyError('last-manager', `${what}: it is the only manager`, {
      hint: 'covey leave --force ends the cluster',
    });
  }
  if (force || node.status.state === 'lost' || node.status.state === 'left') return;
  throw new CoveyError('node-not-lost', `${what}: it is ${node.status.state}`, {
    hint: `run covey leave on ${node.spec.name}, or use --force`,
  });
}
