/** How far a pull is, in the words that people see under their service. */
import t from 'tap';
import { beginning, renderStage, stageOf } from '../../../src/tasks/image/pull-progress.js';

type Layers = Parameters<typeof stageOf>[0]['layers'];
const layer = (step: Layers[number]['step'], bytes: number, totalBytes: number): Layers[number] => ({
  ...{ digest: `sha256:${step}`, step, bytes, totalBytes },
});
const kib = 1_024;
const mib = kib * kib;

t.test('layers that are here already do not count', async t => {
  const layers = [layer('here', 9 * mib, 9 * mib), layer('pulling', mib, 4 * mib), layer('done', 2 * mib, 2 * mib)];
  t.match(stageOf({ kind: 'pulling', layers, note: '' }), { bytes: 3 * mib, totalBytes: 6 * mib, note: '' });
});

t.test('both numbers have the unit of the whole; what is waited for stands in their place', async t => {
  const stage = (bytes: number, totalBytes: number) => renderStage('web:2', { ...beginning, bytes, totalBytes });
  t.equal(renderStage('web:2', beginning), 'pulling web:2');
  t.equal(stage(0, 700), 'pulling web:2: 0 of 700 B');
  t.equal(stage(512, 2 * kib), 'pulling web:2: 0.5 of 2.0 KiB');
  t.equal(stage(41 * mib, 66.3 * mib), 'pulling web:2: 41.0 of 66.3 MiB');
  const note = 'registry.site asks to wait 30 s';
  t.equal(renderStage('web:2', { ...beginning, note, totalBytes: 5 }), `pulling web:2: ${note}`);
});
