import t from 'tap';
import { linuxProcesses, parseStat } from '../../src/host-linux/processes.js';

const { signal } = new AbortController();

t.test('a program that ends with a code is a value; one that can’t start is an error', async t => {
  t.match(await linuxProcesses.run(['sh', '-c', 'echo out; echo err >&2; exit 3'], { signal, timeoutMs: 5_000 }), {
    exitCode: 3,
    stdout: 'out\n',
    stderr: 'err\n',
    timedOut: false,
  });
  t.match(await linuxProcesses.run(['sh', '-c', 'kill -9 $$'], { signal, timeoutMs: 5_000 }), {
    exitCode: undefined,
    signalName: 'SIGKILL',
  });
  t.match(await linuxProcesses.run(['cat'], { signal, timeoutMs: 5_000, input: 'abc' }), {
    exitCode: 0,
    stdout: 'abc',
  });
  await t.rejects(linuxProcesses.run(['/no/such/program'], { signal, timeoutMs: 5_000 }), {
    code: 'not-found',
    message: /no\/such\/program/,
  });
});

t.test('a child sees only the environment that it is given', async t => {
  process.env['COVEY_TEST'] = 'leak';
  const { stdout } = await linuxProcesses.run(['env'], { signal, timeoutMs: 5_000, env: { ONLY: 'this' } });
  t.match(stdout, /ONLY=this/);
  t.notMatch(stdout, /COVEY_TEST/);
});

t.test('a program that takes too long, or is cancelled, is ended', async t => {
  t.match(await linuxProcesses.run(['sleep', '60'], { signal, timeoutMs: 50 }), { timedOut: true });
  const controller = new AbortController();
  const running = linuxProcesses.run(['sleep', '60'], { signal: controller.signal, timeoutMs: 60_000 });
  controller.abort();
  await t.rejects(running, { code: 'cancelled' });
});

t.test('a spawned process has the descriptors that were asked for', async t => {
  const child = await linuxProcesses.spawn(['sh', '-c', 'read line <&3; echo "got $line" >&4'], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    env: { PATH: '/bin:/usr/bin' },
    detached: true,
  });
  child.pipes.get(3)?.write('hello\n');
  const answer = await new Promise<string>(resolve => child.pipes.get(4)?.once('data', data => resolve(String(data))));
  t.equal(answer, 'got hello\n');
  t.match(await child.exited, { exitCode: 0 });
  await t.rejects(linuxProcesses.spawn(['/no/such/program'], { stdio: [], env: {}, detached: false }), {
    code: 'not-found',
  });
});

t.test('start time, state and parent are read past names with blanks and parentheses', async t => {
  const fields = ['S', '1', ...Array.from({ length: 17 }, (_, at) => String(at)), '4242', '0'];
  t.same(parseStat(`77 (a ) b (c)) ${fields.join(' ')}`), { state: 'S', parent: 1, startTicks: 4242 });
  t.match(linuxProcesses.findStart(process.pid), { parent: process.ppid, startTicks: Number });
  t.equal(linuxProcesses.findStart(2 ** 22 + 1), undefined);
  t.equal(linuxProcesses.kill(2 ** 22 + 1, 0), false);
  t.equal(linuxProcesses.kill(process.pid, 0), true);
});

t.test('programs are found on the path', async t => {
  t.match(linuxProcesses.findOnPath('sh'), /\/sh$/);
  t.equal(linuxProcesses.findOnPath('no-such-program-anywhere'), undefined);
});
