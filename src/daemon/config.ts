/**
 * The daemon's settings: one table says for each its flag, variable, key of the file, default and what is valid. A flag wins
 * over the environment, that over the file, that over the default. Anything unknown is refused with its place.
 *
 * Pure: texts in, settings out. Called by main.ts.
 *
 * Not here: settings of the cluster (they live in the store and are given to `covey init`).
 */
import { CoveyError } from '../errors.js';
import { parseDurationMs } from '../tasks/spec/values.js';
import { defaultRange, type IdRange } from '../tasks/userns.js';

export interface Settings {
  readonly dataDir: string;
  readonly runDir: string;
  readonly socket: string;
  readonly name: string | undefined;
  readonly prefix: string;
  readonly listen: HostPort;
  readonly advertiseAddress: string | undefined;
  readonly dataPathAddress: string | undefined;
  readonly dataPathPort: number;
  readonly runtime: 'auto' | 'crun' | 'runc';
  readonly userns: 'auto' | 'host';
  readonly usernsRange: IdRange;
  readonly allowPrivileged: boolean;
  readonly registriesFile: string;
  readonly diskHighWater: number;
  readonly bench: boolean;
  readonly limitsIntervalMs: number;
  readonly logLevel: LogLevel;
  readonly logFormat: 'text' | 'json';
}

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

export const logLevels = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof logLevels)[number];

export const defaultPort = 7377;
const defaultDataPort = 7378;

interface Setting {
  readonly flag: string;
  readonly placeholder: string;
  readonly help: string;
  readonly standard: string;
  /** The text that is shown as the default in the help. */
  readonly parse: (text: string) => unknown;
}

const table: Readonly<Record<keyof Settings, Setting>> = {
  dataDir: {
    flag: 'data-dir',
    placeholder: 'DIR',
    help: 'what must survive a reboot',
    standard: '/var/lib/covey',
    parse: absolutePath,
  },
  runDir: { flag: 'run-dir', placeholder: 'DIR', help: 'what must not', standard: '/run/covey', parse: absolutePath },
  socket: {
    flag: 'socket',
    placeholder: 'PATH',
    help: 'for the command line (default: RUN_DIR/covey.sock)',
    standard: '',
    parse: optional(absolutePath),
  },
  name: {
    flag: 'name',
    placeholder: 'NAME',
    help: 'of this node (default: the host name)',
    standard: '',
    parse: optional(nodeName),
  },
  prefix: {
    flag: 'prefix',
    placeholder: 'TEXT',
    help: 'of links, tables, cgroups; at most 8 characters',
    standard: 'covey',
    parse: parsePrefix,
  },
  listen: {
    flag: 'listen',
    placeholder: 'ADDR:PORT',
    help: 'for other nodes',
    standard: `0.0.0.0:${defaultPort}`,
    parse: text => parseHostPort(text, defaultPort),
  },
  advertiseAddress: {
    flag: 'advertise-addr',
    placeholder: 'ADDR[:PORT]',
    help: 'where other nodes reach this one',
    standard: '',
    parse: optional(String),
  },
  dataPathAddress: {
    flag: 'data-path-addr',
    placeholder: 'ADDR',
    help: 'where containers’ packets come in (default: the advertised one)',
    standard: '',
    parse: optional(String),
  },
  dataPathPort: {
    flag: 'data-path-port',
    placeholder: 'PORT',
    help: 'UDP port of the data path',
    standard: String(defaultDataPort),
    parse: parsePort,
  },
  runtime: {
    flag: 'runtime',
    placeholder: 'NAME',
    help: 'auto, crun or runc',
    standard: 'auto',
    parse: oneOf(['auto', 'crun', 'runc']),
  },
  userns: {
    flag: 'userns',
    placeholder: 'MODE',
    help: 'user namespaces of containers that do not say: auto or host',
    standard: 'host',
    parse: oneOf(['auto', 'host']),
  },
  usernsRange: {
    flag: 'userns-range',
    placeholder: 'FIRST:COUNT',
    help: 'host ids of containers with a user namespace',
    standard: `${defaultRange.firstId}:${defaultRange.count}`,
    parse: parseIdRange,
  },
  allowPrivileged: {
    flag: 'allow-privileged',
    placeholder: 'YES|NO',
    help: 'whether containers may be privileged',
    standard: 'no',
    parse: text => oneOf(['yes', 'no'])(text) === 'yes',
  },
  registriesFile: {
    flag: 'registries-file',
    placeholder: 'FILE',
    help: 'mirrors and certificates of registries; there may be none',
    standard: '/etc/covey/registries.yaml',
    parse: absolutePath,
  },
  diskHighWater: {
    flag: 'disk-high-water',
    placeholder: 'PERCENT',
    help: 'fuller disks lose unused images that can be pulled again (0: never)',
    standard: '85',
    parse: percent,
  },
  limitsIntervalMs: {
    flag: 'limits-interval',
    placeholder: 'TIME',
    help: 'between two looks at the limits of a task; 0: never',
    standard: '5s',
    parse: parseInterval,
  },
  bench: {
    flag: 'bench',
    placeholder: 'YES|NO',
    help: 'whether the socket serves what scripts/bench measures the log with',
    standard: 'no',
    parse: text => oneOf(['yes', 'no'])(text) === 'yes',
  },
  logLevel: {
    flag: 'log-level',
    placeholder: 'LEVEL',
    help: logLevels.join(', '),
    standard: 'info',
    parse: oneOf(logLevels),
  },
  logFormat: {
    flag: 'log-format',
    placeholder: 'FORMAT',
    help: 'text or json',
    standard: 'text',
    parse: oneOf(['text', 'json']),
  },
};

const settingKeys = Object.keys(table) as readonly (keyof Settings)[];

export interface ConfigSources {
  /** Values of flags by name without dashes, as the argument parser found them. */
  readonly flags: Readonly<Record<string, string | undefined>>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Top level of the configuration file: values and where they stand ("covey.yaml:3:1"). */
  readonly file: ReadonlyMap<string, { readonly value: unknown; readonly place: string }>;
}

export function parseSettings(sources: ConfigSources): Settings {
  for (const [key, { place }] of sources.file) {
    if (!settingKeys.some(known => fileKey(known) === key)) {
      throw new CoveyError('bad-config', `Cannot use key "${key}" at ${place}`, {
        hint: `known keys: ${settingKeys.map(fileKey).join(', ')}`,
      });
    }
  }
  for (const name of Object.keys(sources.environment)) {
    if (name.startsWith('COVEY_') && !foreignVariables.has(name) && !settingKeys.some(key => variable(key) === name)) {
      throw new CoveyError('bad-config', `Cannot use environment variable "${name}"`, {
        hint: `known: ${settingKeys.map(variable).join(', ')}`,
      });
    }
  }
  const found = Object.fromEntries(settingKeys.map(key => [key, valueFor(key, sources)])) as unknown as Settings;
  return { ...found, socket: found.socket === undefined ? `${found.runDir}/covey.sock` : found.socket };
}

/** Variables that others of the project read. */
const foreignVariables: ReadonlySet<string> = new Set(['COVEY_CONFIG', 'COVEY_VECTORS', 'COVEY_FORMAT', 'COVEY_TEST']);

function valueFor(key: keyof Settings, sources: ConfigSources): unknown {
  const setting = table[key];
  const flag = sources.flags[setting.flag];
  if (flag !== undefined) return parsed(setting, flag, `--${setting.flag}`);
  const fromEnvironment = sources.environment[variable(key)];
  if (fromEnvironment !== undefined && fromEnvironment !== '') return parsed(setting, fromEnvironment, variable(key));
  const entry = sources.file.get(fileKey(key));
  if (entry !== undefined) {
    if (typeof entry.value !== 'string' && typeof entry.value !== 'number') {
      throw new CoveyError('bad-config', `Cannot use the value of "${fileKey(key)}" at ${entry.place}`, {
        hint: 'a text or a number is valid there',
      });
    }
    return parsed(setting, String(entry.value), entry.place);
  }
  return setting.parse(setting.standard);
}

function parsed(setting: Setting, text: string, place: string): unknown {
  try {
    return setting.parse(text);
  } catch (error) {
    throw new CoveyError('bad-config', `Cannot use "${text}" for ${setting.flag} (${place})`, {
      state: error instanceof Error ? error.message : '',
    });
  }
}

function fileKey(key: keyof Settings): string {
  return table[key].flag.replaceAll('-', '_');
}

function variable(key: keyof Settings): string {
  return `COVEY_${fileKey(key).toUpperCase()}`;
}

/** Lines for --help. */
export function renderSettingsHelp(): string {
  return settingKeys
    .map(key => {
      const { flag, placeholder, help, standard } = table[key];
      return `  ${`--${flag} ${placeholder}`.padEnd(30)} ${help}${standard === '' ? '' : ` (default: ${standard})`}`;
    })
    .join('\n');
}

/** Names of all flags, for the argument parser. */
export function settingFlags(): readonly string[] {
  return settingKeys.map(key => table[key].flag);
}

export function parseHostPort(text: string, portDefault: number): HostPort {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+))(?::(\d+))?$/.exec(text);
  if (!match)
    throw new CoveyError(
      'bad-argument',
      `"${text}" is not an address with an optional port, as in 10.0.0.1:7377 or [fd00::1]:7377`,
    );
  return { host: match[1] ?? match[2] ?? '', port: match[3] === undefined ? portDefault : parsePort(match[3]) };
}

function parsePort(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new CoveyError('bad-argument', `"${text}" is not a port: 1 to 65535 is valid`);
  return port;
}

/** Enough for the users of ordinary images, above the host's own, within what the kernel counts. */
function parseIdRange(text: string): IdRange {
  const [, first = '', length = ''] = /^(\d{1,10}):(\d{1,10})$/.exec(text) ?? [];
  const range = { firstId: Number(first), count: Number(length) };
  if (range.firstId >= 65_536 && range.count >= 65_536 && range.firstId + range.count <= 0xffff_fffe) return range;
  throw new CoveyError('bad-argument', `"${text}" is not FIRST:COUNT with both from 65536 on, as in 1879048192:65536`);
}

function percent(text: string): number {
  const value = Number(text);
  if (text !== '' && Number.isInteger(value) && value >= 0 && value <= 99) return value;
  throw new CoveyError('bad-argument', `"${text}" is not a whole number from 0 to 99`);
}

function parseInterval(text: string): number {
  const parsed = parseDurationMs(text);
  if (parsed.kind === 'ok' && (parsed.value === 0 || parsed.value >= 1_000)) return parsed.value;
  throw new CoveyError('bad-argument', `"${text}" is neither 0 nor a duration of at least 1s`);
}

function absolutePath(text: string): string {
  if (!text.startsWith('/')) throw new CoveyError('bad-argument', `"${text}" is not an absolute path`);
  return text.length > 1 ? text.replace(/\/+$/, '') : text;
}

function parsePrefix(text: string): string {
  if (!/^[a-z][a-z0-9-]{0,7}$/.test(text))
    throw new CoveyError(
      'bad-argument',
      `"${text}" is not 1 to 8 characters of a-z, 0-9 and -, beginning with a letter`,
    );
  return text;
}

function nodeName(text: string): string {
  if (!/^[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?$/.test(text))
    throw new CoveyError('bad-argument', `"${text}" is not a host name of at most 63 characters`);
  return text;
}

function oneOf(values: readonly string[]): (text: string) => string {
  return text => {
    if (!values.includes(text)) throw new CoveyError('bad-argument', `one of ${values.join(', ')} is valid`);
    return text;
  };
}

function optional<Value>(parse: (text: string) => Value): (text: string) => Value | undefined {
  return text => (text === '' ? undefined : parse(text));
}
