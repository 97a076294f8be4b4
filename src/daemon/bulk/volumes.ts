/**
 * Volumes of other nodes, for people: one short bulk stream to each node that is asked. A node that cannot be asked, or that
 * could not do it all, gives an answer with the problem; the others are told all the same.
 *
 * Called by relay.ts. Not here: the node's half (../volumes.ts).
 */
import { openChannel } from '../../channel.js';
import { CoveyError, fromProblem, toProblem } from '../../errors.js';
import type { BulkFrame, Node, Volume, VolumesAnswer, VolumesRequest } from '../../gen/types.js';
import type { Clock } from '../../host.js';
import { deadline } from '../../lifetime.js';
import type { Store } from '../../raft/store.js';
import { getObject } from '../control/find.js';
import type { OpenTaskStream } from './relay.js';

interface VolumesOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly term: () => number;
  readonly open: OpenTaskStream;
  readonly request: VolumesRequest;
  readonly signal: AbortSignal;
}

/** Nodes that are asked at once. */
const askedMax = 32;
const answerMs = 15_000;

export async function* gatherVolumes(options: VolumesOptions): AsyncGenerator<VolumesAnswer> {
  const { request } = options;
  if (request.remove && request.names.length === 0)
    throw new CoveyError('bad-argument', 'Cannot remove volumes: their names are missing');
  const view = options.store.view();
  const nodes = request.node === '' ? view.list('node') : [getObject(view, 'node', request.node)];
  const waiting = [...nodes].sort((a, b) => (a.spec.name < b.spec.name ? -1 : 1));
  for (let at = 0; at < waiting.length; at += askedMax) {
    const answers = waiting.slice(at, at + askedMax).map(node => askNode(options, node));
    for (const answer of answers) yield await answer;
  }
}

async function askNode(options: VolumesOptions, node: Node): Promise<VolumesAnswer> {
  const { request, clock } = options;
  const { name } = node.spec;
  const volumes: Volume[] = [];
  using limit = deadline(clock, {
    ms: answerMs,
    parent: options.signal,
    reason: () =>
      new CoveyError('timeout', `Cannot ask node "${name}" for its volumes`, {
        state: `no answer within ${answerMs / 1_000} s`,
      }),
  });
  const { names, usage, remove } = request;
  const start: BulkFrame = { body: { kind: 'volumes', names, usage, remove, term: options.term() } };
  const stream = { down: openChannel<BulkFrame>(1), signal: limit.signal };
  try {
    for await (const { body } of options.open({ nodeId: node.id }, start, stream)) {
      if (body.kind === 'seen') volumes.push(...body.volumes);
      if (body.kind === 'end' && body.problem !== undefined) throw fromProblem(body.problem);
    }
    return { nodeName: name, volumes };
  } catch (error) {
    options.signal.throwIfAborted();
    return { nodeName: name, volumes, problem: toProblem(error) };
  }
}
