/**
 * cp: files between this machine and a task on any node, with Docker's rules for names: a directory that is there receives, a
 * name that is not there is made, "DIR/." means what is in it, "-" is a tar stream.
 *
 * Keeps true: what a container sends is written below the destination and nowhere else; programs in it lose the right to
 * change their user, unless -a keeps everything as it is.
 *
 * Not here: reading and writing trees (host-linux/tree-copy.ts, loaded late), the other end (tasks/copy.ts, in the daemon).
 */
import { CoveyError, errnoOf, fromProblem, messageOf } from '../../errors.js';
import type { BulkFrame, CopyStart, CopyStat } from '../../gen/types.js';
import type { Duplex } from '../../grpc.js';
import { asId, type TaskId } from '../../ids.js';
import { isCancellation } from '../../lifetime.js';
import type { CliContext } from '../context.js';
import { planCopyTarget, splitCopyPath, type TaskPath } from '../copy-paths.js';
import type { CommandDefinition, Invocation } from '../definition.js';
import type { Flags } from '../flags.js';
import { exitCodes } from '../output/errors.js';
import { openLive } from '../output/live.js';
import { renderBytes } from '../output/values.js';

export const copyCommands: readonly CommandDefinition[] = [
  {
    path: ['cp'],
    says: 'Copy files between this machine and a task, wherever it runs',
    about:
      'One of both is TASK:PATH, as seen in the container, with its volumes. "-" is a tar stream on standard input or output. Sockets, FIFOs and devices are left out, extended attributes too.',
    args: [
      { name: 'TASK:PATH|PATH|-', needed: true, completes: 'task' },
      { name: 'TASK:PATH|PATH|-', needed: true, completes: 'task' },
    ],
    options: [
      { flags: '-a, --archive', says: 'Keep owners, and the bits that let programs change their user' },
      { flags: '-L, --follow-link', says: 'Of a source that is a link, copy what it points to' },
      { flags: '-q, --quiet', says: 'Say nothing' },
      { flags: '--container <name>', says: 'Container of the task (default: the main one)' },
    ],
    examples: [
      { says: 'a file out of a container', line: 'covey cp web.1:/etc/nginx/nginx.conf .' },
      { says: 'what is in a directory, into one', line: 'covey cp site/. web.1:/srv/www' },
    ],
    run: runCopy,
  },
];

type CopyCall = Duplex<BulkFrame, BulkFrame>;

const frameBytes = 65_536;

async function runCopy({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const [from, to] = [splitCopyPath(args[0] ?? ''), splitCopyPath(args[1] ?? '')];
  if ((from.task === undefined) === (to.task === undefined)) {
    throw new CoveyError('bad-argument', 'Cannot copy: one of both has to be TASK:PATH, and the other not');
  }
  const counted = openCounter(context, flags);
  const copy = { context, flags, counted };
  try {
    if (from.task !== undefined) await copyOut(copy, { ...from, task: from.task }, to.path);
    else if (to.task !== undefined) await copyInto(copy, from.path, { ...to, task: to.task });
  } catch (error) {
    if (error instanceof CoveyError || errnoOf(error) === undefined) throw error;
    throw new CoveyError('copy-failed', `Cannot copy: ${messageOf(error)}`);
  }
  await counted.end(args[1] ?? '');
  return exitCodes.done;
}

interface Copy {
  readonly context: CliContext;
  readonly flags: Flags;
  readonly counted: Counter;
}

interface Counter {
  readonly add: (bytes: number) => void;
  readonly end: (to: string) => Promise<void>;
}

/** Live on a terminal; one line at the end, on standard error. */
function openCounter({ console, isInteractive, note }: CliContext, flags: Flags): Counter {
  let bytes = 0;
  const quiet = flags.isOn('quiet');
  const live =
    isInteractive && console.stderr.isTerminal && !quiet ? openLive(console.stderr, console.clock) : undefined;
  return {
    add: more => {
      bytes += more;
      live?.show([`copying  ${renderBytes(bytes)}`]);
    },
    end: async to => {
      await live?.end([]);
      if (!quiet && to !== '-') await note(`Successfully copied ${renderBytes(bytes)} to ${to}`);
    },
  };
}

async function openCall(
  { context, flags }: Copy,
  place: TaskPath,
  more: Partial<CopyStart>,
): Promise<{ readonly call: CopyCall; readonly close: () => void }> {
  const { control } = await context.connect();
  const ended = new AbortController();
  const call = control.copy({ signal: AbortSignal.any([context.signal, ended.signal]) });
  const plain = { into: false, followLink: flags.isOn('follow-link'), archive: flags.isOn('archive'), onlyStat: false };
  const taskId = asId<TaskId>(place.task);
  const container = flags.text('container') ?? '';
  await call.send({ body: { kind: 'copy', taskId, container, path: place.path, ...plain, ...more } });
  return { call, close: () => ended.abort(new CoveyError('cancelled', 'Cannot go on: the copy has ended')) };
}

/** Bytes of the archive, until the other end says that it is done. */
async function* archiveOf(call: CopyCall): AsyncGenerator<Uint8Array> {
  for await (const { body } of call) {
    if (body.kind === 'data') yield body.data;
    if (body.kind !== 'end') continue;
    if (body.problem !== undefined) throw fromProblem(body.problem);
    return;
  }
  throw new CoveyError('copy-failed', 'Cannot tell whether all was copied: the stream ended before its end');
}

async function statThere(copy: Copy, place: TaskPath, followLink: boolean): Promise<CopyStat> {
  const { call, close } = await openCall(copy, place, { onlyStat: true, followLink });
  try {
    for await (const { body } of call) {
      if (body.kind === 'stat') return body;
      if (body.kind === 'end' && body.problem !== undefined) throw fromProblem(body.problem);
    }
  } finally {
    close();
  }
  throw new CoveyError('copy-failed', `Cannot look at "${place.path}": the stream ended before its answer`);
}

async function copyOut(copy: Copy, from: TaskPath, to: string): Promise<void> {
  const { console } = copy.context;
  if (to === '-' && console.stdout.isTerminal) {
    throw new CoveyError('bad-argument', 'Cannot write a tar stream to a terminal', { hint: 'covey cp … - | tar t' });
  }
  const follow = copy.flags.isOn('follow-link') || from.path.endsWith('/');
  const there = to === '-' ? undefined : await statThere(copy, from, follow);
  if (there?.exists === false) throw notThere(`${from.task}:${from.path}`);
  const { openUnpack } = await import('../../host-linux/tree-copy.js');
  const target =
    there === undefined
      ? undefined
      : planCopyTarget({ path: from.path, directory: there.directory }, localEnd(copy, to));
  const unpack =
    target === undefined
      ? undefined
      : openUnpack({
          directory: latin1(target.directory),
          rename: { from: latin1(target.source), to: latin1(target.name) },
          owner: copy.flags.isOn('archive') ? 'archive' : undefined,
          setuid: copy.flags.isOn('archive'),
          onContent: copy.counted.add,
        });
  const { call, close } = await openCall(copy, from, {});
  try {
    for await (const data of archiveOf(call)) {
      if (unpack === undefined) await console.stdout.write(data);
      else unpack.push(data);
    }
    unpack?.finish();
  } finally {
    close();
  }
}

/** The file functions speak of bytes: a name need not be UTF-8. */
function latin1(path: string): string {
  return Buffer.from(path).toString('latin1');
}

function notThere(what: string): CoveyError {
  return new CoveyError('not-found', `Cannot copy "${what}": there is no such file or directory`);
}

function localEnd({ context }: Copy, path: string): Parameters<typeof planCopyTarget>[1] {
  const absolute = path.startsWith('/') ? path : `${context.console.directory}/${path}`;
  const kind = context.console.findKind(path);
  return { path: absolute, exists: kind !== undefined, directory: kind === 'directory' };
}

async function copyInto(copy: Copy, from: string, to: TaskPath): Promise<void> {
  const { console } = copy.context;
  const there = await statThere(copy, to, true);
  if (from === '-') {
    if (!there.directory) throw new CoveyError('bad-argument', `Cannot unpack into "${to.path}": it is no directory`);
    await sendArchive(copy, to, counting(console.stdin.read(), copy.counted));
    return;
  }
  const kind = console.findKind(from);
  if (kind === undefined) throw notThere(from);
  const target = planCopyTarget({ path: from, directory: kind === 'directory' }, { ...there, path: to.path });
  const { packTree } = await import('../../host-linux/tree-copy.js');
  const path = from.startsWith('/') ? from : `${console.directory}/${from}`;
  const followLink = copy.flags.isOn('follow-link') || from.endsWith('/');
  const name = latin1(target.name === '' ? '.' : target.name);
  const pieces = packTree({ path: latin1(path), name, followLink, onContent: copy.counted.add });
  await sendArchive(copy, { ...to, path: target.directory }, pieces);
}

/** Of an archive that is passed on as it is. */
async function* counting(pieces: AsyncIterable<Uint8Array>, counted: Counter): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) {
    counted.add(piece.length);
    yield piece;
  }
}

async function sendArchive(
  copy: Copy,
  to: TaskPath,
  pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<void> {
  const { call, close } = await openCall(copy, to, { into: true, followLink: true });
  let failed: unknown;
  const send = async (): Promise<void> => {
    for await (const piece of pieces) {
      for (let at = 0; at < piece.length; at += frameBytes) {
        const data = piece.subarray(at, at + frameBytes);
        await call.send({ body: { kind: 'data', stream: 'stdin', data, eof: false, atMs: 0 } });
      }
    }
    await call.send({ body: { kind: 'data', stream: 'stdin', data: new Uint8Array(0), eof: true, atMs: 0 } });
  };
  try {
    const sending = send().catch((error: unknown) => {
      failed = error;
      // What the other end has to say of the end of the call is on its way; of our own failure it knows nothing.
      if (!(error instanceof CoveyError)) close();
    });
    for await (const _data of archiveOf(call)); // nothing comes but the end
    await sending;
    if (failed !== undefined) throw failed;
  } catch (error) {
    throw isCancellation(error) && !copy.context.signal.aborted ? (failed ?? error) : error;
  } finally {
    close();
  }
}
