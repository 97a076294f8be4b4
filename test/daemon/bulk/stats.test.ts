import t from 'tap';
import { gatherStats } from '../../../src/daemon/bulk/stats.js';
import { CoveyError } from '../../../src/errors.js';
import type { BulkFrame, StatsAnswer, StatsRequest, Task } from '../../../src/gen/types.js';
import { asId, type NodeId } from '../../../src/ids.js';
import { changeTask, memoryStore, putTask } from '../node-fixtures.js';

const request: StatsRequest = { tasks: [], service: '', once: true, intervalMs: 0 };

async function runningOn(store: Awaited<ReturnType<typeof memoryStore>>, nodeId: string, slot: number): Promise<Task> {
  const task = await putTask(store, { nodeId: asId<NodeId>(nodeId), slot });
  await changeTask(store, task.id, old => ({ ...old, status: { ...old.status, state: 'running' } }));
  return task;
}

const figures = (taskId: Task['id']): BulkFrame => ({
  body: {
    kind: 'figures',
    tasks: [
      {
        ...{ taskId, atMs: 1, cpuPercent: 150, memoryBytes: 2, memoryLimitBytes: 3, receivedBytes: 4 },
        ...{ sentBytes: 5, readBytes: 6, writtenBytes: 7, pids: 8 },
      },
    ],
  },
});

async function collect(answers: AsyncIterable<StatsAnswer>): Promise<readonly string[]> {
  const all: string[] = [];
  for await (const { nodeName, tasks, problem } of answers) {
    all.push(`${nodeName}: ${problem?.code ?? tasks.map(({ taskName }) => taskName).join()}`);
  }
  return all.sort();
}

t.test('each node with tasks is asked once; one that does not answer hides no other', async t => {
  const store = await memoryStore();
  await runningOn(store, 'n1', 1);
  await runningOn(store, 'n1', 2);
  await runningOn(store, 'n2', 3);
  await runningOn(store, 'n3', 4);
  const asked: string[] = [];
  async function* open({ nodeId, id }: { nodeId: NodeId; id?: Task['id'] }): AsyncGenerator<BulkFrame> {
    asked.push(nodeId);
    if (nodeId === 'n3' || id === undefined) throw new CoveyError('node-unreachable', 'Cannot reach it');
    yield figures(id);
    yield { body: { kind: 'end' } };
  }
  const answers = await collect(gatherStats({ store, open, request, signal: AbortSignal.timeout(10_000) }));
  t.strictSame(answers, ['n1: web.1', 'n2: web.3', 'n3: node-unreachable']);
  t.strictSame(asked.sort(), ['n1', 'n2', 'n3']);
});

t.test('a task that does not run has no figures, and says so', async t => {
  const store = await memoryStore();
  const task = await putTask(store, { nodeId: asId<NodeId>('n1'), slot: 1 });
  async function* open(): AsyncGenerator<BulkFrame> {
    yield { body: { kind: 'end' } };
  }
  const options = { store, open, request: { ...request, tasks: [task.id] }, signal: AbortSignal.timeout(10_000) };
  await t.rejects(collect(gatherStats(options)), { code: 'task-not-running' });
  t.strictSame(await collect(gatherStats({ ...options, request })), [], 'without tasks there is an end');
});
