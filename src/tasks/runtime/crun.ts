/**
 * How crun and runc are asked to do things, and what their messages mean. Both speak the same command line.
 *
 * Starting and removing crun's containers needs no exec of it: its init waits at a FIFO, and its state is a directory of
 * small files; that saves 8 ms of CPU a container. Everything else goes through its command line.
 *
 * Not here: who watches the container (conmon.ts), which runtime is used (probe.ts).
 */
import { CoveyError } from '../../errors.js';
import type { Host } from '../../host.js';
import type { RuntimeChoice } from '../agent-types.js';
import { removeSmallTree } from '../small-tree.js';

export interface RuntimePlace {
  readonly runtime: RuntimeChoice;
  /** Its --root: one per runtime and daemon. */
  readonly root: string;
}

/** Arguments before the verb. */
export function globalArgs(place: RuntimePlace): readonly string[] {
  return place.runtime.name === 'crun' ? ['--root', place.root, '--cgroup-manager=cgroupfs'] : ['--root', place.root];
}

const startTimeoutMs = 30_000;

/** Lets the created container go. Nothing when it was let go already. */
export async function startContainer(
  host: Pick<Host, 'files' | 'processes'>,
  place: RuntimePlace,
  { containerId, signal }: { readonly containerId: string; readonly signal: AbortSignal },
): Promise<void> {
  const fifo = `${place.root}/${containerId}/exec.fifo`;
  if (place.runtime.name === 'crun' && host.files.writePipe(fifo, '\0')) {
    host.files.removeFileSync(fifo);
    return;
  }
  const argv = [place.runtime.path, ...globalArgs(place), 'start', containerId];
  const result = await host.processes.run(argv, { signal, timeoutMs: startTimeoutMs });
  if (result.exitCode !== 0) throw runtimeError(result.stderr, 'start');
}

/**
 * Whether a created container still waits to be let go. The FIFO goes when it is, but a daemon may have died in between: then
 * process 1 does not bear the runtime's name any more. Letting it go again would wait for a reader that never comes.
 */
export function waitsForStart(
  host: Pick<Host, 'files'>,
  place: RuntimePlace,
  { containerId, pid }: { readonly containerId: string; readonly pid: number },
): boolean {
  if (!host.files.listSync(`${place.root}/${containerId}`).includes('exec.fifo')) return false;
  const [program = ''] = host.files.findTextSync(`/proc/${pid}/cmdline`)?.split('\0') ?? [];
  return /(?:^|\/)(?:crun|runc)$/.test(program);
}

/** Whether that runtime made the container. */
export function hasContainer(host: Pick<Host, 'files'>, place: RuntimePlace, containerId: string): boolean {
  return host.files.listSync(`${place.root}/${containerId}`).length > 0;
}

/** Deletes what a runtime remembers. The container's processes and cgroups have to be gone. */
export function forgetContainer(host: Pick<Host, 'files'>, roots: readonly string[], containerId: string): void {
  for (const root of roots) removeSmallTree(host.files, `${root}/${containerId}`);
}

/** Containers that a runtime remembers. */
export function listContainers(host: Pick<Host, 'files'>, roots: readonly string[]): readonly string[] {
  return roots.flatMap(root => host.files.listSync(root)).filter(name => !name.startsWith('.'));
}

const meanings: readonly (readonly [RegExp, 'command-not-found' | 'mount-source' | 'user-not-found' | 'no-space'])[] = [
  [
    /executable file .*not found|no such file or directory: .*exec|exec(?:vp?)?[: ].*(?:not found|permission denied)/i,
    'command-not-found',
  ],
  [/open executable|executable file .*permission denied/i, 'command-not-found'],
  [/(?:mount|bind|stat'ing).*no such file or directory/i, 'mount-source'],
  [/unable to find (?:user|group)/i, 'user-not-found'],
  [/no space left on device/i, 'no-space'],
];

/** What the runtime said, as an error with the code that fits best. */
export function runtimeError(output: string, verb: string): CoveyError {
  const text = lastWords(output);
  const code = meanings.find(([pattern]) => pattern.test(text))?.[1] ?? 'container-create';
  return new CoveyError(code, `Cannot ${verb} the container: ${text}`);
}

export function isHybridRefusal(error: unknown): boolean {
  return error instanceof Error && error.message.includes('cgroups in hybrid mode not supported');
}

/**
 * What a program said in a terminal just before it ended, when the runtime no longer copied it. crun tells that as messages of
 * its own: in its log, each piece after a time.
 */
export function lastOutputIn(log: string): Buffer {
  return Buffer.from(withoutMarks(log).replace(/\n$/, ''));
}

/** On a terminal crun writes its messages in red; the "." is the escape. A program's own line ends with "\r\n" there. */
function withoutMarks(log: string): string {
  return log
    .replaceAll(/^.\[1;31m(?=\d{4}-\d\d-\d\dT)((?:(?!.\[0m\n)[\s\S])*).\[0m$/gm, '$1')
    .replaceAll(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z: /gm, '');
}

/** The message of the last line: plain, after a time, or the "msg" of a log line in JSON or logfmt. */
export function lastWords(output: string): string {
  const line = withoutMarks(output.trim()).split('\n').at(-1) ?? '';
  const json = /"msg":\s*"((?:[^"\\]|\\.)*)"/.exec(line)?.[1];
  const logfmt = /msg="((?:[^"\\]|\\.)*)"/.exec(line)?.[1];
  const text = (json ?? logfmt ?? line).replaceAll('\\"', '"').trim();
  return text === '' ? 'the runtime said nothing' : text.slice(0, 1_000);
}
