/**
 * The bundles of some fifty configurations, each run as a container: argv, environment, directory, user, rights, limits,
 * mounts and masks are read from inside and compared with what was asked for. Rows mix settings, so that pairs of them meet;
 * every row that can be is run without and with a user namespace, and some with runc as well.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Task } from '../../../src/gen/types.js';
import { linuxHost } from '../../../src/host-linux/index.js';
import { asId, type SecretId } from '../../../src/ids.js';
import { defaultRange } from '../../../src/tasks/userns.js';
import { openVolumes } from '../../../src/tasks/volumes.js';
import { makeTask, openRig, type Rig, whyNotReal } from '../fixtures.js';
import { parseReadback, readbackScript, type Seen } from './readback.js';
import { cdiSpec, image, type Row, rows, secretId } from './readback-rows.js';

const skip = whyNotReal();
const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const log = { ...silent, with: () => log };

const modes = ['host', 'auto'] as const;
type Mode = (typeof modes)[number];

/** What every container has, unless its row says otherwise. */
const usual: Partial<Seen> = {
  argv: ['/bin/sh', '-c', readbackScript],
  cwd: '/tmp/work',
  uid: 0,
  gid: 0,
  capEff: '00000000a80425fb',
  capBnd: '00000000a80425fb',
  noNewPrivs: 0,
  seccomp: 2,
  pid: 1,
  terminal: false,
};
const usualFacts: Readonly<Record<string, string | RegExp>> = {
  root: 'written',
  masked: '0 0',
  'sysctl-write': /Read-only file system/,
  ports: '0',
  links: 'lo',
  console: /No such file/,
  unshare: /not permitted/,
  file: '33 34 640',
};
const usualEnv = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  FROM_IMAGE: '1',
  BOTH: 'image',
  HOME: '/root',
};

function taskOf(row: Row, mode: Mode): Task {
  const container = { entrypoint: ['/bin/sh', '-c', readbackScript], command: [], userns: mode, ...row.container };
  return makeTask({ container, spec: { restart: { condition: 'none', attemptsMax: 0, windowMs: 0 }, ...row.spec } });
}

function checkRow(t: Test, { row, task, mode, text }: { row: Row; task: Task; mode: Mode; text: string }): void {
  const seen = parseReadback(text);
  const hostname = row.container?.hostname ?? task.id.slice(0, 12);
  const env = { ...usualEnv, HOSTNAME: hostname, ...row.env };
  const wanted = {
    ...usual,
    hostname,
    env: Object.entries(env)
      .flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]))
      .sort(),
    uidMap: mode === 'auto' ? [defaultRange.firstId, defaultRange.count] : [0, 4_294_967_295],
    ...row.seen,
    facts: { ...usualFacts, ...row.facts },
  };
  t.match(seen, wanted, row.name);
  t.strictSame(seen.env, wanted.env, `${row.name}: nothing more in its environment`);
  t.strictSame(seen.argv, wanted.argv, `${row.name}: nothing more in its arguments`);
}

async function openMachine(t: Test, prefix: string, wanted: 'crun' | 'runc'): Promise<Rig> {
  const cdi = fs.mkdtempSync('/tmp/covey-cdi-');
  t.teardown(() => fs.rmSync(cdi, { recursive: true, force: true }));
  fs.writeFileSync(join(cdi, 'lib'), 'vendor library\n');
  fs.writeFileSync(join(cdi, 'test.json'), JSON.stringify(cdiSpec(cdi)), { mode: 0o644 });
  const policy = { userns: 'host', allowPrivileged: true } as const;
  return await openRig(t, {
    prefix,
    wanted,
    image,
    agent: ({ dataDir }) => ({
      policy,
      cdiFolders: [cdi],
      volumes: openVolumes({ directory: `${dataDir}/volumes`, host: linuxHost, log }),
    }),
  });
}

async function runRows(rig: Rig, chosen: readonly Row[], t: Test): Promise<void> {
  const runs = chosen.flatMap(row =>
    modes.filter(mode => (row.only ?? mode) === mode).map(mode => ({ row, mode, task: taskOf(row, mode) })),
  );
  const secret = {
    id: asId<SecretId>(secretId),
    meta: { version: 1, createdAtMs: 0, updatedAtMs: 0, owner: 'uid:0' },
    spec: { name: 'pw', labels: {}, stack: '' },
    data: Buffer.from('tr0ub4dor'),
    digest: new Uint8Array(),
  };
  const tasks = runs.map(({ task }) => task);
  const sent = { term: 1, sequence: 1, full: false, tasks, removedTasks: [], secrets: [secret], configs: [] };
  await rig.agent.assign(sent);
  for (const mode of modes) {
    await t.test(mode === 'auto' ? 'in a user namespace' : 'without a user namespace', async t => {
      for (const { row, task } of runs.filter(run => run.mode === mode)) {
        const status = await rig.wait(task.id, 'complete');
        const text = await rig.logs(task.id);
        if (status.state !== 'complete') t.fail(`${row.name}: ${status.state}, ${status.error} ${text.slice(0, 300)}`);
        else checkRow(t, { row, task, mode, text });
      }
    });
  }
  const owner = fs.statSync('/dev/null');
  t.strictSame([owner.uid, owner.gid, owner.mode & 0o777], [0, 0, 0o666], 'the null device of the host is as it was');
}

for (const [wanted, prefix] of [
  ['crun', 'cvtg'],
  ['runc', 'cvtj'],
] as const) {
  const missing = linuxHost.processes.findOnPath(wanted) === undefined ? `needs ${wanted}` : false;
  t.test(`what was asked for is what a container of ${wanted} has`, { skip: skip || missing }, async t => {
    await using rig = await openMachine(t, prefix, wanted);
    const chosen = rows.filter(row => wanted === 'crun' || row.runc === true);
    await runRows(rig, chosen, t);
  });
}
