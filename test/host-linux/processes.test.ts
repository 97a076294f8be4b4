import { once } from 'node:events';
import * as fs from 'node:fs';
import t from 'tap';
import { libcFunction } from '../../src/host-linux/libc.js';
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

t.test('a spawned process inherits nothing: no descriptor, no environment, no ignored or blocked signal', async t => {
  // The shell reads its own status: while it starts another program (vfork) it blocks all signals itself.
  const status = 'while read -r line; do case $line in SigBlk*|SigIgn*) echo "$line" ;; esac; done </proc/$$/status';
  const words = `pwd; env | sort; ${status}; ls /proc/$$/fd; ps -o sid= -p $$`;
  const careless = libcFunction<[number], number>('int dup(int fd)')(2); // as libraries open theirs: children get it
  t.teardown(() => fs.closeSync(careless));
  const child = await linuxProcesses.spawn(['sh', '-c', words], {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { PATH: '/bin:/usr/bin', ONLY: 'this' },
    cwd: '/proc',
    detached: true,
  });
  let said = '';
  child.pipes.get(1)?.on('data', data => {
    said += String(data);
  });
  const ended = new Promise(resolve => child.pipes.get(1)?.once('end', resolve));
  t.same(await child.exited, { exitCode: 0, signalName: undefined });
  await ended;
  const lines = said.trim().split('\n');
  t.equal(lines[0], '/proc');
  t.match(said, /ONLY=this/);
  t.notMatch(said, /HOME=/);
  t.match(said, /SigBlk:\s0+$/m, said);
  t.match(said, /SigIgn:\s0+$/m, said);
  t.same(
    lines.slice(0, -1).filter(line => /^\d+$/.test(line)),
    ['0', '1', '2'],
    said,
  );
  t.equal(Number(lines.at(-1)), child.pid, 'a session of its own');
});

t.test('a spawned process that a signal ends says which; many that end at once are all told', async t => {
  const spawn = (words: string) =>
    linuxProcesses.spawn(['sh', '-c', words], { stdio: [], env: { PATH: '/bin:/usr/bin' }, detached: false });
  t.same(await (await spawn('kill -TERM $$')).exited, { exitCode: undefined, signalName: 'SIGTERM' });
  const many = await Promise.all(Array.from({ length: 20 }, (_, code) => spawn(`exit ${code}`)));
  t.same(await Promise.all(many.map(async child => (await child.exited).exitCode)), [...many.keys()]);
});

t.test('descriptors of ours are handed on, whatever their numbers', async t => {
  const folder = t.testdir({ one: 'of one\n', two: 'of two\n' });
  const one = fs.openSync(`${folder}/one`, 'r');
  const two = fs.openSync(`${folder}/two`, 'r');
  const child = await linuxProcesses.spawn(['sh', '-c', 'cat <&0; cat <&4; cat <&3'], {
    stdio: [one, 'pipe', 'ignore', two, 2],
    env: { PATH: '/bin:/usr/bin' },
    detached: false,
  });
  fs.closeSync(one);
  fs.closeSync(two);
  const [answer] = await once(child.pipes.get(1)!, 'data');
  t.match(String(answer), /of one/);
  await child.exited;
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
