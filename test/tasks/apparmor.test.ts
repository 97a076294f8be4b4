import t from 'tap';
import { linuxHost } from '../../src/host-linux/index.js';
import { defaultProfileName, profileLoader, renderProfile } from '../../src/tasks/apparmor.js';

const log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  with: () => log,
};

function loader(answer: { readonly exitCode: number } | Error, apparmor = true) {
  const calls: (readonly string[])[] = [];
  const written: string[] = [];
  const host = {
    files: { ...linuxHost.files, write: async (path: string) => void written.push(path) },
    processes: {
      ...linuxHost.processes,
      run: async (argv: readonly string[]) => {
        calls.push(argv);
        if (answer instanceof Error) throw answer;
        return { ...answer, signalName: undefined, timedOut: false, stdout: '', stderr: 'no' };
      },
    },
  };
  const find = profileLoader({ host, runDir: '/run/x', modules: { apparmor, selinux: false }, log });
  return { find, calls, written };
}

t.test('the profile is loaded once, by the first container that asks', async t => {
  const { find, calls, written } = loader({ exitCode: 0 });
  t.equal(await find(), defaultProfileName);
  t.equal(await find(), defaultProfileName);
  t.strictSame(written, ['/run/x/apparmor-profile']);
  t.strictSame(calls, [['apparmor_parser', '--replace', '--skip-cache', '/run/x/apparmor-profile']]);
});

t.test('without AppArmor nothing is tried; where it cannot be loaded containers run without', async t => {
  const off = loader({ exitCode: 0 }, false);
  t.equal(await off.find(), undefined);
  t.strictSame(off.calls, []);
  t.equal(await loader({ exitCode: 1 }).find(), undefined);
  t.equal(await loader(new Error('Cannot start apparmor_parser: ENOENT')).find(), undefined);
});

const parser = linuxHost.processes.findOnPath('apparmor_parser') === undefined ? 'needs apparmor_parser' : false;

t.test('the profile is one', { skip: parser }, async t => {
  const { signal } = new AbortController();
  const argv = ['apparmor_parser', '--skip-kernel-load', '--skip-cache'];
  const read = async (input: string) => await linuxHost.processes.run(argv, { signal, timeoutMs: 10_000, input });
  t.equal((await read(renderProfile('x'))).exitCode, 0);
  t.not((await read(renderProfile('x').replace('umount,', 'umount'))).exitCode, 0);
});
