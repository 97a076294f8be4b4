/**
 * The process of a container: argv, environment, directory, user, capabilities and limits, from its spec and the config of
 * its image, by Docker's rules. Pure.
 *
 * Not here: whether the program exists (rootfs.ts), the rest of the bundle (bundle.ts).
 */
import { posix } from 'node:path';
import { CoveyError } from '../../errors.js';
import type { ContainerSpec, TerminalSize, Ulimit } from '../../gen/types.js';
import type { ImageRunConfig, ResolvedUser } from '../images.js';
import type { OciProcess, OciRlimit } from './oci.js';

export const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Where the small init is mounted in a container: in the runtime's own /dev, so that nothing stays in the root file system. */
export const initPath = '/dev/init';
const argsMaxBytes = 2 * 2 ** 20;

/** What the machine allows at most, read once at start. */
export interface HostLimits {
  /** By name without RLIMIT_, lower case; Infinity: unlimited. */
  readonly hardLimits: ReadonlyMap<string, number>;
  /** CAP_SYS_RESOURCE: may raise hard limits and lower OOM scores. */
  readonly mayRaise: boolean;
  readonly capabilities: readonly string[];
}

export interface ProcessInput {
  readonly container: ContainerSpec;
  readonly image: ImageRunConfig;
  readonly user: ResolvedUser;
  readonly hostname: string;
  readonly capabilities: readonly string[];
  readonly limits: HostLimits;
}

export function planProcess(input: ProcessInput): OciProcess {
  const { container, user } = input;
  const args = planArgs(container, input.image);
  return {
    terminal: container.tty,
    ...consoleOf(container.tty, undefined),
    user: { uid: user.uid, gid: user.gid, umask: 0o022, additionalGids: [...user.groups] },
    args: container.init ? [initPath, '--', ...args] : args,
    env: planEnv(input),
    cwd: planDirectory(container, input.image),
    capabilities: planCapabilitySets(input.capabilities, user.uid),
    rlimits: container.ulimits.map(ulimit => planLimit(ulimit, input.limits)),
    noNewPrivileges: false,
    ...planOomScore(container, input.limits),
  };
}

/** A program may ask for the size with its first instruction; a terminal of 0 by 0 is one that many cannot use. */
export const terminalSize: TerminalSize = { rows: 24, columns: 80 };

export function consoleOf(terminal: boolean, size: TerminalSize | undefined): Pick<OciProcess, 'consoleSize'> {
  const { rows, columns } = size ?? terminalSize;
  return terminal ? { consoleSize: { height: rows, width: columns } } : {};
}

/** An entrypoint of the spec drops the image's command as well. */
export function planArgs(container: ContainerSpec, image: ImageRunConfig): readonly string[] {
  const entrypoint = container.entrypoint.length > 0 ? container.entrypoint : image.entrypoint;
  const inherited = container.entrypoint.length > 0 ? [] : image.command;
  const args = [...entrypoint, ...(container.command.length > 0 ? container.command : inherited)];
  if (args.length === 0 || args[0] === '') {
    throw new CoveyError('bad-bundle', 'Cannot tell what to run: neither image nor spec name a command', {
      hint: 'Give a command, or an image with CMD or ENTRYPOINT',
    });
  }
  refuseNul('argument', args);
  const sizeBytes = args.reduce((sum, arg) => sum + Buffer.byteLength(arg) + 1, 0);
  if (sizeBytes > argsMaxBytes) {
    throw new CoveyError('too-large', `Cannot pass ${sizeBytes} bytes of arguments: the limit is ${argsMaxBytes}`);
  }
  return args;
}

/** Later entries win. "NAME" without a value takes the variable away. */
function planEnv(input: ProcessInput): readonly string[] {
  const { container, image, user } = input;
  const variables = new Map<string, string>([
    ['PATH', defaultPath],
    ['HOSTNAME', input.hostname],
  ]);
  if (container.tty) variables.set('TERM', 'xterm');
  for (const entry of [...image.env, ...container.env]) {
    const split = entry.indexOf('=');
    if (split < 0) variables.delete(entry);
    else if (split > 0) variables.set(entry.slice(0, split), entry.slice(split + 1));
  }
  if (!variables.has('HOME')) variables.set('HOME', user.home);
  const env = [...variables].map(([name, value]) => `${name}=${value}`);
  refuseNul('variable', env);
  return env;
}

function refuseNul(what: string, texts: readonly string[]): void {
  const bad = texts.find(text => text.includes('\0'));
  if (bad !== undefined) {
    throw new CoveyError('bad-bundle', `Cannot pass ${what} "${bad.replaceAll('\0', '\\0')}": it holds a NUL byte`);
  }
}

/** /proc is refused: a directory below /proc/self/fd has let processes out of their root before (CVE-2024-21626). */
export function planDirectory(
  container: { readonly workingDir: string },
  image: Pick<ImageRunConfig, 'workingDir'>,
): string {
  const text = container.workingDir === '' ? image.workingDir : container.workingDir;
  const path = posix.resolve('/', text === '' ? '/' : text);
  if (path === '/proc' || path.startsWith('/proc/')) {
    throw new CoveyError('bad-bundle', `Cannot start in "${path}": a working directory must not lie in /proc`);
  }
  return path;
}

/** Like Docker: who is not root has them in the bounding set only, for programs with file capabilities. */
function planCapabilitySets(capabilities: readonly string[], uid: number): OciProcess['capabilities'] {
  const held = uid === 0 ? capabilities : [];
  return { bounding: capabilities, effective: held, permitted: held, inheritable: [], ambient: [] };
}

const limitNames: readonly string[] =
  'as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack'.split(' ');

/** Without CAP_SYS_RESOURCE nobody gets more than the daemon itself may have. */
function planLimit(ulimit: Ulimit, host: HostLimits): OciRlimit {
  const name = ulimit.name.toLowerCase();
  if (!limitNames.includes(name)) {
    throw new CoveyError('bad-bundle', `Cannot set limit "${ulimit.name}": there is none of that name`, {
      hint: limitNames.join(', '),
    });
  }
  const wanted = { soft: countOf(ulimit.soft), hard: countOf(ulimit.hard) };
  if (wanted.soft > wanted.hard) {
    throw new CoveyError('bad-bundle', `Cannot set limit "${name}": soft ${ulimit.soft} is above hard ${ulimit.hard}`);
  }
  const ceiling = host.mayRaise ? Number.POSITIVE_INFINITY : (host.hardLimits.get(name) ?? Number.POSITIVE_INFINITY);
  return {
    type: `RLIMIT_${name.toUpperCase()}`,
    soft: Math.min(wanted.soft, ceiling),
    hard: Math.min(wanted.hard, ceiling),
  };
}

function countOf(limit: number): number {
  return limit < 0 ? Number.POSITIVE_INFINITY : limit;
}

function planOomScore(container: ContainerSpec, host: HostLimits): { readonly oomScoreAdj?: number } {
  const score = container.oomScoreAdj;
  if (score === undefined) return {};
  if (score < -1000 || score > 1000) {
    throw new CoveyError('bad-bundle', `Cannot set OOM score ${score}: it goes from -1000 to 1000`);
  }
  return score < 0 && !host.mayRaise ? {} : { oomScoreAdj: score };
}

const limitLabels: readonly (readonly [string, string])[] = [
  ['Max cpu time', 'cpu'],
  ['Max file size', 'fsize'],
  ['Max data size', 'data'],
  ['Max stack size', 'stack'],
  ['Max core file size', 'core'],
  ['Max resident set', 'rss'],
  ['Max processes', 'nproc'],
  ['Max open files', 'nofile'],
  ['Max locked memory', 'memlock'],
  ['Max address space', 'as'],
  ['Max file locks', 'locks'],
  ['Max pending signals', 'sigpending'],
  ['Max msgqueue size', 'msgqueue'],
  ['Max nice priority', 'nice'],
  ['Max realtime priority', 'rtprio'],
  ['Max realtime timeout', 'rttime'],
];

/** Hard limits by name from /proc/self/limits. */
export function parseHardLimits(text: string): ReadonlyMap<string, number> {
  const limits = new Map<string, number>();
  for (const line of text.split('\n')) {
    const label = limitLabels.find(([prefix]) => line.startsWith(`${prefix} `));
    if (label === undefined) continue;
    const hard = line.slice(label[0].length).trim().split(/\s+/)[1];
    if (hard !== undefined) limits.set(label[1], hard === 'unlimited' ? Number.POSITIVE_INFINITY : Number(hard));
  }
  return limits;
}
