/**
 * Images that try to lead the runtime out of their root: every one is refused before anything is created, with its own code,
 * and nothing of the machine is touched. Each is a class of weakness that runtimes had.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openChannel } from '../../src/channel.js';
import type { BulkFrame, ContainerSpec } from '../../src/gen/types.js';
import type { TaskImages } from '../../src/tasks/index.js';
import { collect, emptyImage, makeMount, makeTask, openRig, whyNotReal } from './fixtures.js';

const skip = whyNotReal();

interface Attack {
  readonly name: string;
  /** Done to the root file system, in its directory. */
  readonly script: string;
  readonly container?: Partial<ContainerSpec>;
  readonly volumes?: readonly string[];
  readonly code?: string;
  readonly error: RegExp;
}

const attacks: readonly Attack[] = [
  ...['/dev', '/proc', '/sys'].map(place => ({
    name: `${place} is a link to a directory of the machine (CVE-2025-31133, CVE-2026-41579)`,
    script: `rm -rf .${place}; ln -s /tmp .${place}`,
    error: new RegExp(`"${place}" in it is not a directory`),
  })),
  ...['/dev/pts', '/dev/shm', '/dev/mqueue', '/sys/fs/cgroup'].map(place => ({
    name: `${place} is a link`,
    script: `mkdir -p .${place.slice(0, place.lastIndexOf('/'))}; ln -s ../../../../tmp .${place}`,
    error: new RegExp(`"${place}" in it is not a directory`),
  })),
  { name: '/proc is a file', script: 'rm -rf proc; echo > proc', error: /"\/proc" in it is not a directory/ },
  {
    name: 'the working directory is one of /proc (CVE-2024-21626)',
    script: 'true',
    container: { workingDir: '/proc/self/fd/7' },
    code: 'bad-bundle',
    error: /must not lie in \/proc/,
  },
  {
    name: 'the working directory is a link into /proc',
    script: 'ln -s /proc way; mkdir -p proc/self',
    container: { workingDir: '/way/self' },
    error: /leads into \/proc/,
  },
  {
    name: 'the working directory is a link to a descriptor',
    script: 'ln -s /proc/self/fd/7 way',
    container: { workingDir: '/way' },
    code: 'bad-bundle',
    error: /"\/way" is not a directory/,
  },
  {
    name: 'a link leads a tmpfs onto /proc (CVE-2019-16884)',
    script: 'ln -s /proc data2',
    container: { mounts: [makeMount('tmpfs', '', '/data2')] },
    error: /leads to "\/proc"/,
  },
  {
    name: 'links in a row lead a mount below /sys',
    script: 'mkdir a; ln -s ../../../b a/up; ln -s sys/kernel b; mkdir -p sys/kernel',
    container: { mounts: [makeMount('tmpfs', '', '/a/up/x')] },
    error: /leads to "\/sys\/kernel\/x"/,
  },
  {
    name: 'a link leads the hosts file onto a file of /proc',
    script: 'rm -rf etc/hosts; ln -s /proc/sys/kernel/core_pattern etc/hosts',
    error: /leads to "\/proc\/sys\/kernel\/core_pattern"/,
  },
  {
    name: 'a volume of the image is /proc',
    script: 'true',
    volumes: ['/proc'],
    code: 'bad-bundle',
    error: /belongs to the runtime/,
  },
  {
    name: 'links go round in a circle',
    script: 'ln -s two one; ln -s one two',
    container: { mounts: [makeMount('tmpfs', '', '/one/x')] },
    error: /round in a circle/,
  },
];

/** Roots of which each was changed by its attack, by the name of the image. */
function hostileImages(directory: string, plain: TaskImages): TaskImages {
  const attackOf = (reference: string): Attack | undefined => attacks[Number(/^attack:(\d+)$/.exec(reference)?.[1])];
  const rooted = new Map<string, Attack>();
  const find: TaskImages['find'] = reference => {
    const attack = attackOf(reference);
    if (attack === undefined) return plain.find(reference);
    rooted.set(reference, attack);
    return { digest: reference, config: { ...emptyImage, volumes: attack.volumes ?? [] }, layers: [] };
  };
  return {
    ...plain,
    find,
    ensure: async (wanted, signal) => find(wanted.image) ?? (await plain.ensure(wanted, signal)),
    mountRoot: async (image, folder) => {
      const root = await plain.mountRoot(image, folder);
      const { script } = rooted.get(image.digest)!;
      execFileSync('sh', ['-ec', script], { cwd: root.rootPath });
      fs.writeFileSync(join(directory, 'seen'), image.digest);
      return root;
    },
  };
}

t.test('images that lead out are refused', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvtw', wrapImages: hostileImages });
  for (const [at, { name, container, code, error }] of attacks.entries()) {
    const task = makeTask({ container: { image: `attack:${at}`, command: ['sleep', '100'], ...container } });
    const status = await rig.run(task, 'complete');
    t.match(status, { state: 'rejected', errorCode: code ?? 'hostile-image', error }, name);
    await rig.assign([], { removed: [task.id] });
  }
});

t.test('a link that stays inside is followed, and the mount lands where it leads', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvtu' });
  const script = 'grep -c " /srv/real/x " /proc/self/mounts';
  fs.mkdirSync(join(rig.directory, 'master/srv/real'), { recursive: true });
  fs.symlinkSync('/../srv/real', join(rig.directory, 'master/alias'));
  const container = { mounts: [makeMount('tmpfs', '', '/alias/x')], command: ['sh', '-c', script] };
  const task = makeTask({ container });
  t.equal((await rig.run(task, 'complete')).state, 'complete');
  t.equal(await rig.logs(task.id), '1\n');
});

t.test('exec never starts in /proc, whatever the container links there', { skip }, async t => {
  await using rig = await openRig(t, { prefix: 'cvtv' });
  const task = makeTask({ container: { command: ['sh', '-c', 'ln -s /proc/self /way; sleep 100'] } });
  await rig.run(task);
  const start = {
    taskId: task.id,
    container: '',
    detach: false,
    args: ['pwd'],
    env: [],
    user: '',
    tty: false,
    stdin: false,
  };
  const exec = async (workingDir: string): Promise<void> => {
    const frames = openChannel<BulkFrame>(1);
    await collect(rig.agent.exec(frames, { ...start, workingDir }, AbortSignal.timeout(20_000)));
  };
  for (const place of ['/proc', '/proc/self/fd/3', '/tmp/../proc/1']) {
    await t.rejects(exec(place), { code: 'bad-bundle', message: /must not lie in \/proc/ }, place);
  }
});
