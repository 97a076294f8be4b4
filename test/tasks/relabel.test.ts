/** Which files get which SELinux label, and which never do. */
import t from 'tap';
import { planRelabel } from '../../src/tasks/relabel.js';
import { makeMount } from './objects.js';

const label = 'system_u:object_r:container_file_t:s0:c3,c7';
const anybody = 'system_u:object_r:container_file_t:s0';
const paths = new Map(['named', 'anonymous', 'spool', 'image', 'mine'].map(name => [`/${name}`, `/volumes/${name}`]));
const plan = (...mounts: readonly ReturnType<typeof makeMount>[]) => planRelabel({ label, mounts, paths, files: [] });

t.test('a bind keeps its labels unless it asks; "shared" leaves out what keeps tasks apart', async t => {
  t.strictSame(plan(makeMount('bind', '/data', '/a')), []);
  t.strictSame(plan(makeMount('bind', '/data', '/a', { relabel: 'shared' })), [{ label: anybody, paths: ['/data'] }]);
  t.strictSame(plan(makeMount('bind', '/data', '/a', { relabel: 'private' })), [{ label, paths: ['/data'] }]);
});

t.test('a named volume is for all containers, what ends with the task for it alone', async t => {
  const mounts = [
    makeMount('volume', 'named', '/named'),
    makeMount('volume', '', '/anonymous'),
    makeMount('shared', 'spool', '/spool'),
    makeMount('volume', 'mine', '/mine', { relabel: 'private' }),
    makeMount('image', 'web:1', '/image'),
    makeMount('tmpfs', '', '/tmp'),
  ];
  t.strictSame(planRelabel({ label, mounts, paths, files: ['/run/hosts'] }), [
    { label: anybody, paths: ['/volumes/named'] },
    { label, paths: ['/run/hosts', '/volumes/anonymous', '/volumes/spool', '/volumes/mine'] },
  ]);
});

t.test('without a label nothing is labelled, whatever is asked for', async t => {
  const mounts = [makeMount('bind', '/etc', '/a', { relabel: 'private' })];
  t.strictSame(planRelabel({ label: undefined, mounts, paths, files: ['/run/hosts'] }), []);
});

t.test('a place that the machine lives on is never relabelled', async t => {
  const bind = (source: string) => makeMount('bind', source, '/a', { relabel: 'shared' });
  for (const source of [
    '/',
    '/etc',
    '/etc/',
    '/home',
    '//usr/.',
    '/var/lib',
    '/proc/1',
    '/sys/fs',
    '/dev/shm',
    '/tmp',
  ]) {
    t.throws(() => plan(bind(source)), { code: 'mount-source', message: /Cannot relabel/ }, source);
  }
  for (const source of ['/etc/shop', '/home/ann/site', '/srv/www', '/devices']) t.equal(plan(bind(source)).length, 1);
});
