/** Mount options: which layers, in which order, and within one page. */
import t from 'tap';
import { linkOf, overlayOptions, planRoot } from '../../../src/tasks/image/mount.js';
import type { LayerRecord } from '../../../src/tasks/image/unpack-protocol.js';

const id = (digit: string): string => `sha256:${digit.repeat(64)}`;
const layer = (digit: string, more: Partial<LayerRecord> = {}): LayerRecord => ({
  diffId: id(digit),
  entries: 1,
  bytes: 1,
  isOpaque: false,
  ...more,
});

t.test('the topmost layer comes first', async t => {
  t.same(planRoot([layer('a'), layer('b')], { hasBase: false }), {
    lower: [linkOf(id('b')), linkOf(id('a'))],
    root: { mode: 0o755, uid: 0, gid: 0 },
  });
});

t.test('of a layer that is there twice only the higher one counts', async t => {
  t.same(planRoot([layer('a'), layer('b'), layer('a')], { hasBase: false }).lower, [linkOf(id('a')), linkOf(id('b'))]);
});

t.test('below an opaque layer nothing is mounted, but the root keeps what was said last', async t => {
  const root = { mode: 0o711, uid: 1, gid: 2 };
  t.same(planRoot([layer('a', { root }), layer('b', { isOpaque: true }), layer('c')], { hasBase: false }), {
    lower: [linkOf(id('c')), linkOf(id('b'))],
    root,
  });
});

t.test('the base lies below all layers, but not below an opaque one; a scratch image has nothing else', async t => {
  t.same(planRoot([layer('a')], { hasBase: true }).lower, [linkOf(id('a')), 'base']);
  t.same(planRoot([layer('a', { isOpaque: true })], { hasBase: true }).lower, [linkOf(id('a'))]);
  t.same(planRoot([], { hasBase: false }).lower, ['base']);
});

t.test('paths with signs that options consist of are escaped', async t => {
  t.match(
    overlayOptions(['l/a', 'l/b'], '/data,x:y\\z'),
    'lowerdir=l/a:l/b,upperdir=/data\\,x\\:y\\\\z/upper,workdir=/data\\,x\\:y\\\\z/work',
  );
});

t.test('a label with a comma is one option', async t => {
  t.match(overlayOptions(['l/a'], '/d', 'u:r:t:s0:c1,c2'), /,volatile,context="u:r:t:s0:c1,c2"$/);
});

t.test('200 layers fit the page, and what does not is refused before the kernel cuts it', async t => {
  const lower = Array.from({ length: 200 }, (_none, at) => linkOf(`sha256:${String(at).padStart(64, '0')}`));
  t.ok(overlayOptions(lower, `/${'d'.repeat(300)}`).length < 4_096);
  t.throws(() => overlayOptions([...lower, ...lower], '/d'), { code: 'mount-failed' });
});
