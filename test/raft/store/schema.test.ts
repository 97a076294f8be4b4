/** Who can read what is stored. The whole of it, with two coveys: test/cluster/versions.real.test.ts. */
import t from 'tap';
import { refuseForOlder, refuseOlderManager } from '../../../src/raft/store/schema.js';
import { openState } from '../../../src/raft/store/tables.js';
import { schemaVersion } from '../../../src/version.js';
import { description } from '../../daemon/node-fixtures.js';
import { node } from '../../daemon/object-fixtures.js';

const running = (schema: number | undefined, name: string) => ({
  ...description(name),
  version: `0.${schema ?? 0}.0`,
  ...(schema === undefined ? {} : { schemaVersion: schema }),
});

t.test('what a manager would not know is not stored; workers never read it', async t => {
  const state = openState();
  const put = (id: string, role: 'manager' | 'worker', schema: number | undefined): void => {
    const made = node(id);
    state.put('node', { ...made, role, spec: { ...made.spec, name: id }, description: running(schema, id) });
  };
  put('m1', 'manager', 3);
  put('w1', 'worker', undefined);
  t.doesNotThrow(() => refuseForOlder(state.view, 3));
  put('m2', 'manager', 2);
  put('m3', 'manager', undefined);
  t.doesNotThrow(() => refuseForOlder(state.view, 1), 'all know the first');
  t.throws(() => refuseForOlder(state.view, 2), {
    code: 'older-managers',
    state: /^m3 runs covey 0.0.0; .* version 2$/,
  });
  t.throws(() => refuseForOlder(state.view, 3), {
    code: 'older-managers',
    state: /^m2 runs covey 0.2.0, m3 runs covey 0.0.0; /,
  });
});

t.test('a node whose covey could not read what is stored becomes no manager', async t => {
  const { view } = openState();
  t.doesNotThrow(() => refuseOlderManager(view, { description: running(undefined, 'w1') }, 'Cannot'));
  t.doesNotThrow(() => refuseOlderManager(view, { description: running(schemaVersion, 'w1') }, 'Cannot'));
});
