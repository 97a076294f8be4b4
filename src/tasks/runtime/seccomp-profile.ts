/**
 * A seccomp profile that somebody wrote, in Docker's form (archMap, and rules that hold with or without capabilities and
 * architectures) or in that of the OCI config, to the latter. Pure.
 *
 * Called by ../isolation.ts. Not here: the profile of those who give none (seccomp.ts), reading the file (spec/security.ts).
 */
import { CoveyError } from '../../errors.js';
import type { OciSeccomp } from './oci.js';

export interface ProfilePlace {
  readonly capabilities: readonly string[];
  /** As OCI names it: amd64, arm64. */
  readonly architecture: string;
  /** "6.1.0-18-amd64". */
  readonly kernel: string;
}

const actions = ['ALLOW', 'ERRNO', 'KILL', 'KILL_PROCESS', 'KILL_THREAD', 'TRAP', 'TRACE', 'LOG'].map(
  name => `SCMP_ACT_${name}`,
);
const comparisons = ['NE', 'LT', 'LE', 'EQ', 'GE', 'GT', 'MASKED_EQ'].map(name => `SCMP_CMP_${name}`);
const nativeArchitectures: Readonly<Record<string, string>> = {
  amd64: 'SCMP_ARCH_X86_64',
  arm64: 'SCMP_ARCH_AARCH64',
};
/** Names of errors that profiles use. */
const errnos: Readonly<Record<string, number>> = {
  EPERM: 1,
  ENOENT: 2,
  EACCES: 13,
  EINVAL: 22,
  ENOSYS: 38,
  ENOTSUP: 95,
};

type Fields = Readonly<Record<string, unknown>>;

export function planSeccompProfile(text: string, place: ProfilePlace): OciSeccomp {
  const profile = fieldsOf(JSON.parse(text), 'the profile');
  const defaultErrnoRet = errnoOf(profile, 'default');
  return {
    defaultAction: oneOf(profile['defaultAction'], actions, 'defaultAction'),
    ...(defaultErrnoRet === undefined ? {} : { defaultErrnoRet }),
    architectures: architecturesOf(profile, place),
    ...(profile['flags'] === undefined ? {} : { flags: textsOf(profile['flags'], 'flags') }),
    syscalls: listOf(profile['syscalls'], 'syscalls')
      .map(item => fieldsOf(item, 'a rule'))
      .filter(rule => holds(rule, place))
      .map(planRule),
  };
}

function refuse(why: string): never {
  throw new CoveyError('bad-bundle', `Cannot use the seccomp profile: ${why}`, {
    hint: "Docker's form, or that of linux.seccomp in an OCI config",
  });
}

function fieldsOf(value: unknown, what: string): Fields {
  if (typeof value !== 'object' || !value || Array.isArray(value)) return refuse(`${what} is no object`);
  return Object.fromEntries(Object.entries(value));
}

function listOf(value: unknown, what: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  return Array.isArray(value) ? value : refuse(`${what} is no list`);
}

function textsOf(value: unknown, what: string): readonly string[] {
  return listOf(value, what).map(item => (typeof item === 'string' ? item : refuse(`${what} holds no text`)));
}

function oneOf(value: unknown, known: readonly string[], what: string): string {
  const found = known.find(name => name === value);
  return found ?? refuse(`${what} "${String(value)}" is none of ${known.join(', ')}`);
}

/** "errno": "ENOSYS" or "errnoRet": 38; for the default with that word before. */
function errnoOf(fields: Fields, prefix: '' | 'default'): number | undefined {
  const number = fields[prefix === '' ? 'errnoRet' : 'defaultErrnoRet'];
  if (typeof number === 'number' && Number.isInteger(number) && number >= 0) return number;
  const name = fields[prefix === '' ? 'errno' : 'defaultErrno'];
  if (typeof name !== 'string' || name === '') return undefined;
  return (
    errnos[name] ?? refuse(`errno "${name}" is none of ${Object.keys(errnos).join(', ')}; errnoRet takes a number`)
  );
}

/** Docker's map gives each architecture those that its kernel runs as well. */
function architecturesOf(profile: Fields, { architecture }: ProfilePlace): readonly string[] {
  const native = nativeArchitectures[architecture];
  const maps = listOf(profile['archMap'], 'archMap').map(item => fieldsOf(item, 'an entry of archMap'));
  if (maps.length === 0) return textsOf(profile['architectures'], 'architectures');
  const own = maps.find(map => map['architecture'] === native);
  if (own === undefined || native === undefined) return native === undefined ? [] : [native];
  return [native, ...textsOf(own['subArchitectures'], 'subArchitectures')];
}

function holds(rule: Fields, place: ProfilePlace): boolean {
  const includes = conditionOf(rule['includes']);
  const excludes = conditionOf(rule['excludes']);
  const has = (cap: string): boolean => place.capabilities.includes(cap);
  const here = (arch: string): boolean => arch === place.architecture;
  if (includes.arches.length > 0 && !includes.arches.some(here)) return false;
  if (!includes.caps.every(has)) return false;
  if (includes.minKernel !== undefined && isOlder(place.kernel, includes.minKernel)) return false;
  if (excludes.arches.some(here) || excludes.caps.some(has)) return false;
  return excludes.minKernel === undefined || isOlder(place.kernel, excludes.minKernel);
}

interface Condition {
  readonly arches: readonly string[];
  readonly caps: readonly string[];
  readonly minKernel: string | undefined;
}

function conditionOf(value: unknown): Condition {
  if (value === undefined || value === null) return { arches: [], caps: [], minKernel: undefined };
  const fields = fieldsOf(value, 'a condition');
  const minKernel = fields['minKernel'];
  return {
    arches: textsOf(fields['arches'], 'arches'),
    caps: textsOf(fields['caps'], 'caps'),
    minKernel: typeof minKernel === 'string' && minKernel !== '' ? minKernel : undefined,
  };
}

function isOlder(kernel: string, wanted: string): boolean {
  const [major = 0, minor = 0] = kernel.split(/[.-]/).map(Number);
  const [wantedMajor = 0, wantedMinor = 0] = wanted.split('.').map(Number);
  return major < wantedMajor || (major === wantedMajor && minor < wantedMinor);
}

function planRule(rule: Fields): OciSeccomp['syscalls'][number] {
  const single = rule['name'];
  const names = typeof single === 'string' && single !== '' ? [single] : textsOf(rule['names'], 'names');
  const args = listOf(rule['args'], 'args').map(item => {
    const arg = fieldsOf(item, 'an argument');
    const number = (key: string): number => {
      const value = arg[key] ?? 0;
      return typeof value === 'number' && value >= 0 ? value : refuse(`${key} of an argument is no number`);
    };
    return {
      index: number('index'),
      value: number('value'),
      valueTwo: number('valueTwo'),
      op: oneOf(arg['op'], comparisons, 'op'),
    };
  });
  const errnoRet = errnoOf(rule, '');
  return {
    names,
    action: oneOf(rule['action'], actions, 'action'),
    ...(errnoRet === undefined ? {} : { errnoRet }),
    ...(args.length === 0 ? {} : { args }),
  };
}
