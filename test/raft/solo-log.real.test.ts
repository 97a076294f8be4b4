/** The log of a single manager on real files, ended by kill -9 in the middle of its work. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { openAppendFile } from '../../src/host-linux/append-file.js';
import { linuxHost } from '../../src/host-linux/index.js';
import { openSoloLog } from '../../src/raft/solo-log.js';
import type { StoreMachine } from '../../src/raft/store.js';
import { silent } from '../daemon/plane-fixtures.js';

const [, , childDirectory] = process.argv;

function listMachine(): StoreMachine & { readonly entries: string[] } {
  const entries: string[] = [];
  const snapshot = (): Uint8Array => Buffer.from(entries.join('\n'));
  return {
    entries,
    apply: (_index, entry) => entries.push(Buffer.from(entry).toString()),
    snapshot,
    snapshotPieces: () => [snapshot()],
    restore: bytes => entries.splice(0, entries.length, ...Buffer.from(bytes).toString().split('\n')),
  };
}

async function open(directory: string, machine: StoreMachine) {
  return await openSoloLog({
    directory,
    files: { ...linuxHost.files, openAppend: openAppendFile },
    clock: linuxHost.clock,
    machine,
    log: silent,
    onFailed: error => {
      throw error;
    },
    limits: { snapshotEntries: 40 },
  });
}

/** Writes entries as fast as it can and says each that was answered. */
async function child(directory: string): Promise<void> {
  const machine = listMachine();
  const log = await open(directory, machine);
  for (let at = machine.entries.length + 1; ; at++) {
    const outcome = await log.propose(Buffer.from(`entry ${at}`));
    if (outcome.kind === 'committed') process.stdout.write(`${outcome.index}\n`);
  }
}

async function killedRun(directory: string, afterLines: number): Promise<number> {
  const running = spawn(process.execPath, [fileURLToPath(import.meta.url), directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise(resolve => running.once('exit', resolve));
  let last = 0;
  let lines = 0;
  for await (const line of createInterface(running.stdout)) {
    last = Number(line);
    lines += 1;
    if (lines === afterLines) running.kill('SIGKILL');
  }
  await ended;
  return last;
}

if (childDirectory !== undefined) await child(childDirectory);
else
  t.test('what was answered survives kill -9, again and again', async t => {
    const directory = await mkdtemp('/tmp/covey-control-log-');
    t.teardown(() => rm(directory, { recursive: true }));
    for (const afterLines of [1, 60, 133]) {
      const answered = await killedRun(directory, afterLines);
      const machine = listMachine();
      const log = await open(directory, machine);
      t.ok(machine.entries.length >= answered, `${answered} answered, ${machine.entries.length} found`);
      t.same(
        machine.entries,
        machine.entries.map((_, at) => `entry ${at + 1}`),
        'in order, none twice',
      );
      await log[Symbol.asyncDispose]();
    }
  });
