/**
 * Which addresses are given again, and when: sessions and nodes as data, no streams.
 */
import t from 'tap';
import { makeNodeSession, type NodeSession, type Sessions } from '../../../src/daemon/dispatcher/node-session.js';
import { leaving, openRetiring } from '../../../src/daemon/dispatcher/retiring.js';
import type { NodeState, Task } from '../../../src/gen/types.js';
import { asId, type NodeId } from '../../../src/ids.js';
import type { StoreEvent, View } from '../../../src/raft/store.js';
import { node, service, task } from '../object-fixtures.js';

const a = asId<NodeId>('a');
const b = asId<NodeId>('b');
const endpoints = [{ networkId: asId<never>('net'), addresses: ['10.1.0.5'] }];

function ends(state: Task['status']['state'] = 'failed'): StoreEvent {
  const old = task('t', { state: 'running', endpoints });
  return { table: 'task', kind: 'put', object: task('t', { state, endpoints }), old };
}

function plane() {
  const sessions: Sessions = new Map();
  const states = new Map<NodeId, NodeState>();
  const nodes = () => [...states].map(([id, state]) => ({ ...node(id), status: { state, sinceMs: 0, message: '' } }));
  const view = {
    list: () => nodes(),
    find: (_table: string, id: string) => nodes().find(one => one.id === id),
  } as unknown as View;
  let nowMs = 0;
  const open = (id: NodeId, shownEpoch: number): NodeSession => {
    const session = { ...makeNodeSession(id), shownEpoch };
    sessions.set(id, session);
    states.set(id, 'ready');
    return session;
  };
  const clock = { monotonicMs: () => nowMs };
  return {
    sessions,
    states,
    open,
    retiring: openRetiring({ sessions, view: () => view, clock, firstEpoch: 1 }),
    pass: (ms: number) => {
      nowMs += ms;
    },
  };
}

t.test('an address is free when every node has acknowledged the change that took it away', async t => {
  const { open, retiring, pass } = plane();
  const [one, two] = [open(a, 1), open(b, 1)];
  retiring.look();
  t.equal(retiring.waitsFor('10.1.0.5'), undefined);
  retiring.changed([ends()], 2);
  retiring.look();
  t.same(retiring.waitsFor('10.1.0.5'), [a, b]);
  t.equal(retiring.waitsFor('10.1.0.6'), undefined, 'another one never was in question');
  pass(30);
  one.shownEpoch = 2;
  retiring.look();
  t.same(retiring.waitsFor('10.1.0.5'), [b]);
  pass(12);
  two.shownEpoch = 2;
  retiring.look();
  t.equal(retiring.waitsFor('10.1.0.5'), undefined);
  t.same(retiring.times(), { count: 2, milliseconds: [0, 42] }, 'and it is known how long that took');
});

t.test('a node that is away for a moment is waited for, one that is lost or has left is not', async t => {
  const { open, retiring, sessions, states } = plane();
  open(a, 1);
  open(b, 1);
  retiring.look();
  sessions.delete(b);
  retiring.changed([ends()], 2);
  open(a, 2);
  retiring.look();
  t.same(retiring.waitsFor('10.1.0.5'), [b]);
  states.set(b, 'lost');
  retiring.look();
  t.equal(retiring.waitsFor('10.1.0.5'), undefined);
});

t.test('who begins to lead gives nothing again until all nodes show what it found', async t => {
  const { open, retiring, states } = plane();
  states.set(a, 'ready');
  retiring.look();
  t.same(retiring.waitsFor('10.1.0.9'), [a]);
  const session = open(a, 0);
  retiring.look();
  t.same(retiring.waitsFor('10.1.0.9'), [a], 'it has said hello, and shows nothing yet');
  session.shownEpoch = 1;
  retiring.look();
  t.equal(retiring.waitsFor('10.1.0.9'), undefined);
});

t.test('a later change of the same address counts, and changes are acknowledged in order', async t => {
  const { open, retiring } = plane();
  const session = open(a, 1);
  retiring.look();
  retiring.changed([ends()], 2);
  retiring.changed([ends()], 3);
  session.shownEpoch = 2;
  retiring.look();
  t.same(retiring.waitsFor('10.1.0.5'), [a]);
  session.shownEpoch = 3;
  retiring.look();
  t.equal(retiring.waitsFor('10.1.0.5'), undefined);
});

t.test('what leaves the tables: endpoints of tasks that end or go, addresses that a service gives up', async t => {
  t.same(leaving(ends()), ['10.1.0.5']);
  t.same(leaving(ends('running')), []);
  const old = task('t', { state: 'running', endpoints });
  t.same(leaving({ table: 'task', kind: 'delete', old }), ['10.1.0.5']);
  t.same(leaving({ table: 'task', kind: 'delete', old: task('t', { state: 'failed', endpoints }) }), [], 'it had left');
  const web = service({ vips: endpoints });
  t.same(leaving({ table: 'service', kind: 'put', object: web, old: web }), []);
  t.same(leaving({ table: 'service', kind: 'put', object: service({ vips: [] }), old: web }), ['10.1.0.5']);
  t.same(leaving({ table: 'service', kind: 'delete', old: web }), ['10.1.0.5']);
});
