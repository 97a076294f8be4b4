/**
 * Turns Dockerfile instructions (`covey image import --change 'CMD ["httpd"]'`) into the "config" object of an OCI image
 * config, for images made from a root file system. Same forms and same meaning as Docker's `import --change`.
 *
 * Not here: the rest of the config (oci.ts), reading configs of others (oci.ts).
 */
import { posix } from 'node:path';
import { CoveyError } from '../../errors.js';
import { resolveText, splitWords } from './words.js';

/** In the letter case and order of the specification, absent when empty: this is what is stored. */
export interface RunDocument {
  User?: string;
  ExposedPorts?: Record<string, object>;
  Env?: readonly string[];
  Entrypoint?: readonly string[];
  Cmd?: readonly string[];
  Volumes?: Record<string, object>;
  WorkingDir?: string;
  Labels?: Record<string, string>;
  StopSignal?: string;
  Healthcheck?: HealthcheckDocument;
}

interface HealthcheckDocument {
  Test: readonly string[];
  Interval?: number;
  Timeout?: number;
  StartPeriod?: number;
  StartInterval?: number;
  Retries?: number;
}

type Instruction = (run: RunDocument, argument: string) => RunDocument;

const instructions: Readonly<Record<string, Instruction>> = {
  CMD: (run, argument) => ({ ...run, Cmd: commandOf(argument) }),
  ENTRYPOINT: (run, argument) => ({ ...run, Entrypoint: commandOf(argument) }),
  ENV: addEnv,
  EXPOSE: addPorts,
  HEALTHCHECK: (run, argument) => ({ ...run, Healthcheck: healthcheckOf(argument) }),
  LABEL: (run, argument) => ({ ...run, Labels: { ...run.Labels, ...Object.fromEntries(pairsOf(run, argument)) } }),
  STOPSIGNAL: (run, argument) => ({ ...run, StopSignal: signalOf(resolveText(argument, variablesOf(run))) }),
  USER: (run, argument) => ({ ...run, User: resolveText(argument, variablesOf(run)) }),
  VOLUME: addVolumes,
  WORKDIR: (run, argument) => ({
    ...run,
    WorkingDir: posix.resolve('/', run.WorkingDir ?? '', resolveText(argument, variablesOf(run))),
  }),
};

/** Throws bad-argument with the instruction that cannot be applied. */
export function applyChanges(changes: readonly string[]): RunDocument {
  return changes.reduce<RunDocument>(applyChange, {});
}

function applyChange(run: RunDocument, change: string): RunDocument {
  const [, name = '', argument = ''] = /^\s*([A-Za-z]+)\s+(.*?)\s*$/s.exec(change) ?? [];
  const apply = Object.hasOwn(instructions, name.toUpperCase()) ? instructions[name.toUpperCase()] : undefined;
  try {
    if (apply === undefined || argument === '') {
      throw new CoveyError('bad-argument', `It is one of ${Object.keys(instructions).join(', ')}, a blank and a value`);
    }
    return apply(run, argument);
  } catch (cause) {
    throw new CoveyError('bad-argument', `Cannot apply the change "${change.slice(0, 200)}"`, { cause });
  }
}

/** JSON list: the words as they are. Anything else: a line for the shell. */
function commandOf(argument: string): readonly string[] {
  return jsonWords(argument) ?? ['/bin/sh', '-c', argument];
}

function jsonWords(argument: string): readonly string[] | undefined {
  if (!argument.startsWith('[')) return undefined;
  try {
    const value: unknown = JSON.parse(argument);
    return Array.isArray(value) && value.every(item => typeof item === 'string') ? value : undefined;
  } catch {
    return undefined; // as Docker has it: what is no list of texts is a shell line
  }
}

function variablesOf(run: RunDocument): ReadonlyMap<string, string> {
  return new Map((run.Env ?? []).map(line => [nameOf(line), line.slice(nameOf(line).length + 1)]));
}

function nameOf(line: string): string {
  return line.slice(0, line.indexOf('='));
}

/** `A=1 B="2 3"`, or the old form `A 2 3` for one. */
function pairsOf(run: RunDocument, argument: string): readonly (readonly [string, string])[] {
  const old = /^([^\s=]+)\s+(.*)$/s.exec(argument);
  const lines =
    old === null
      ? splitWords(argument, variablesOf(run))
      : [`${old[1]}=${resolveText(old[2] ?? '', variablesOf(run))}`];
  return lines.map(line => {
    if (line.indexOf('=') < 1) throw new CoveyError('bad-argument', `"${line}" is not NAME=value`);
    return [nameOf(line), line.slice(line.indexOf('=') + 1)];
  });
}

function addEnv(run: RunDocument, argument: string): RunDocument {
  const env = new Map(variablesOf(run));
  for (const [name, value] of pairsOf(run, argument)) env.set(name, value);
  return { ...run, Env: [...env].map(([name, value]) => `${name}=${value}`) };
}

function addPorts(run: RunDocument, argument: string): RunDocument {
  const ports: Record<string, object> = { ...run.ExposedPorts };
  for (const word of splitWords(argument, variablesOf(run))) {
    const [, first = '', last = first, protocol = 'tcp'] = /^(\d+)(?:-(\d+))?(?:\/(tcp|udp|sctp))?$/i.exec(word) ?? [];
    const [from, to] = [Number(first), Number(last)];
    if (!(from >= 1 && to >= from && to <= 65_535)) {
      throw new CoveyError('bad-argument', `"${word}" is not PORT, PORT-PORT, with or without /tcp, /udp, /sctp`);
    }
    for (let port = from; port <= to; port += 1) ports[`${port}/${protocol.toLowerCase()}`] = {};
  }
  return { ...run, ExposedPorts: ports };
}

function addVolumes(run: RunDocument, argument: string): RunDocument {
  const volumes: Record<string, object> = { ...run.Volumes };
  for (const path of jsonWords(argument) ?? splitWords(argument, variablesOf(run))) {
    if (path === '') throw new CoveyError('bad-argument', 'A volume needs a path');
    volumes[posix.resolve('/', path)] = {};
  }
  return { ...run, Volumes: volumes };
}

function signalOf(text: string): string {
  const name = text.toUpperCase();
  if (/^(SIG)?(RTMIN\+|RTMAX-)?[A-Z]*[0-9]*$/.test(name) && name !== '' && Number(name) !== 0) return text;
  throw new CoveyError('bad-argument', `"${text}" is no signal: SIGTERM, TERM or 15`);
}

const options: Readonly<Record<string, (text: string) => Partial<HealthcheckDocument>>> = {
  interval: text => ({ Interval: nanoseconds(text) }),
  timeout: text => ({ Timeout: nanoseconds(text) }),
  'start-period': text => ({ StartPeriod: nanoseconds(text) }),
  'start-interval': text => ({ StartInterval: nanoseconds(text) }),
  retries: text => ({ Retries: wholeNumber(text) }),
};

function healthcheckOf(argument: string): HealthcheckDocument {
  let rest = argument;
  let settings: Partial<HealthcheckDocument> = {};
  for (;;) {
    const [all = '', name = '', value = ''] = /^--([a-z-]+)=(\S+)\s*/.exec(rest) ?? [];
    if (all === '') break;
    const read = Object.hasOwn(options, name) ? options[name] : undefined;
    if (read === undefined)
      throw new CoveyError('bad-argument', `"--${name}" is none of --${Object.keys(options).join(', --')}`);
    settings = { ...settings, ...read(value) };
    rest = rest.slice(all.length);
  }
  if (/^NONE$/i.test(rest)) return { Test: ['NONE'] };
  const [, command] = /^CMD\s+(.+)$/is.exec(rest) ?? [];
  if (command === undefined) throw new CoveyError('bad-argument', 'A health check is NONE, or CMD and a command');
  const words = jsonWords(command);
  return { Test: words === undefined ? ['CMD-SHELL', command] : ['CMD', ...words], ...settings };
}

const unitNanoseconds: Readonly<Record<string, number>> = { ns: 1, us: 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3_600e9 };

function nanoseconds(text: string): number {
  if (!/^(\d+(\.\d+)?(ns|us|ms|s|m|h))+$/.test(text)) {
    throw new CoveyError('bad-argument', `"${text}" is no duration: 30s, 1m30s, 500ms`);
  }
  const pieces = text.matchAll(/(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)/g);
  return Math.round(
    [...pieces].reduce((sum, piece) => sum + Number(piece[1]) * (unitNanoseconds[piece[2] ?? ''] ?? 0), 0),
  );
}

function wholeNumber(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new CoveyError('bad-argument', `"${text}" is no whole number`);
  return Number(text);
}
