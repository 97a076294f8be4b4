import t from 'tap';
import { containersOf, containersView } from '../../../../src/cli/commands/service/containers-view.js';
import type { ContainerStatus } from '../../../../src/gen/types.js';
import { service, task } from '../../objects.js';

const side: ContainerStatus = {
  name: 'proxy',
  role: 'sidecar',
  state: 'running',
  restarts: 3,
  health: '',
  ready: 'unready',
  message: 'nothing listens there',
};

t.test('the containers of a task are listed with what is wrong with each', async t => {
  const web = task({ service: service({ name: 'web' }) });
  const of = (containers: readonly ContainerStatus[]) =>
    containersOf({ task: { ...web, status: { ...web.status, containers } }, nodes: { n1: 'rack1' }, past: false });
  const rows = of([{ ...side, name: '', role: 'main', ready: '', message: '', restarts: 0 }, side]).map(
    containersView.row,
  );
  t.strictSame(rows, [
    ['web.1', '-', 'main', 'running', '0', 'rack1', ''],
    ['web.1', 'proxy', 'sidecar', 'running, not ready', '3', 'rack1', 'nothing listens there'],
  ]);
  t.strictSame(of([]).map(containersView.row), [['web.1', '-', 'main', 'running', '0', 'rack1', '']], 'its only one');
  t.match(of([{ ...side, state: 'ended', exitCode: 7 }]).map(containersView.row), [
    [/./, 'proxy', 'sidecar', 'ended, exit code 7'],
  ]);
});
