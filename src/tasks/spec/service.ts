/**
 * One entry of `services`: its keys, each read into the model. A key that is neither here nor in `notHonoured` is unknown.
 *
 * Not here: ports, mounts, secrets, configs and networks of a service (service-lists.ts), deploy (deploy.ts).
 */
import type { Ulimit } from '../../gen/types.js';
import { readDeploy } from './deploy.js';
import { parseEnvFile } from './env-file.js';
import {
  type Field,
  type FindField,
  problem,
  readChoice,
  readEntries,
  readFlag,
  readInteger,
  readItems,
  readKeys,
  readPairs,
  readParsed,
  readText,
  readTextOrTexts,
  readTexts,
} from './fields.js';
import { readHealthTimes, readHooks, readLifecycle } from './lifecycle.js';
import { limitKeys, readPlainLimits, readPlainReservations } from './limits.js';
import { readLogging } from './logging.js';
import type { Environment, HealthcheckModel, RestartModel, ServiceModel } from './model.js';
import { inlineProfile, parseDevice, parseDeviceRule, parseUserns } from './security.js';
import { readConfigUses, readMounts, readNetworkUses, readPorts } from './service-lists.js';
import { checkUlimit, parseBytes, parseDurationMs, parseWords } from './values.js';
import type { FindVariable } from './variables.js';

/** What readers need of the world around the file. */
export interface ReadingContext {
  readonly findVariable: FindVariable;
  /** Absolute, from a path in the file. */
  readonly resolvePath: (path: string) => string;
  /** undefined when there is no such file. */
  readonly findFile: (path: string) => Uint8Array | undefined;
}

const known = [
  'image',
  'pull_policy',
  'command',
  'entrypoint',
  'environment',
  'env_file',
  'labels',
  'working_dir',
  'user',
  'group_add',
  'hostname',
  'runtime',
  'stop_signal',
  'stop_grace_period',
  'init',
  'tty',
  'stdin_open',
  'read_only',
  'shm_size',
  'oom_score_adj',
  'cap_add',
  'cap_drop',
  'devices',
  'device_cgroup_rules',
  'privileged',
  'security_opt',
  'userns_mode',
  'ulimits',
  'sysctls',
  'extra_hosts',
  'dns',
  'dns_search',
  'dns_opt',
  'healthcheck',
  'logging',
  'post_start',
  'pre_stop',
  'x-covey',
  'ports',
  'volumes',
  'tmpfs',
  'secrets',
  'configs',
  'networks',
  'network_mode',
  'restart',
  'deploy',
  ...limitKeys,
];

const notHonoured = [
  'annotations',
  'attach',
  'build',
  'cgroup',
  'cgroup_parent',
  'cgroupns_mode',
  'container_name',
  'cpu_count',
  'cpu_percent',
  'cpu_rt_period',
  'cpu_rt_runtime',
  'credential_spec',
  'depends_on',
  'develop',
  'domainname',
  'expose',
  'extends',
  'external_links',
  'gpus',
  'ipc',
  'isolation',
  'label_file',
  'links',
  'mac_address',
  'mem_swappiness',
  'models',
  'oom_kill_disable',
  'pid',
  'platform',
  'profiles',
  'provider',
  'scale',
  'storage_opt',
  'use_api_socket',
  'uts',
  'volume_driver',
  'volumes_from',
];

export function readService(field: Field, context: ReadingContext): ServiceModel {
  return readFound(readKeys(field, { what: 'a service', known, notHonoured }), field, context);
}

function readFound(find: FindField, field: Field, context: ReadingContext): ServiceModel {
  const bytes = (key: string): number | undefined => readParsed(find(key), parseBytes);
  return {
    place: field.tree.place,
    image: readText(find('image')),
    pullPolicy: readPullPolicy(find('pull_policy')),
    command: readCommand(find('command')),
    entrypoint: readCommand(find('entrypoint')),
    environment: readEnvironment(find('env_file'), find('environment'), context),
    labels: new Map(readPairs(find('labels'))),
    workingDir: readText(find('working_dir')),
    user: readText(find('user')),
    groups: readGroups(find('group_add')),
    hostname: readText(find('hostname')),
    runtime: readChoice(find('runtime'), ['crun', 'runc']),
    stopSignal: readText(find('stop_signal')),
    stopGraceMs: readParsed(find('stop_grace_period'), parseDurationMs),
    init: readFlag(find('init')),
    tty: readFlag(find('tty')),
    stdin: readFlag(find('stdin_open')),
    readOnly: readFlag(find('read_only')),
    shmBytes: bytes('shm_size'),
    oomScoreAdj: readInteger(find('oom_score_adj'), { min: -1000, max: 1000 }),
    capAdd: (readTexts(find('cap_add')) ?? []).map(name => name.toUpperCase()),
    capDrop: (readTexts(find('cap_drop')) ?? []).map(name => name.toUpperCase()),
    ulimits: new Map(readEntries(find('ulimits')).flatMap(([name, limit]) => readUlimit(name, limit))),
    sysctls: new Map(readPairs(find('sysctls'))),
    extraHosts: readExtraHosts(find('extra_hosts')),
    dns: readTextOrTexts(find('dns')) ?? [],
    dnsSearch: readTextOrTexts(find('dns_search')) ?? [],
    dnsOptions: readTexts(find('dns_opt')) ?? [],
    privileged: readFlag(find('privileged')),
    userns: readParsed(find('userns_mode'), parseUserns),
    securityOpt: readSecurity(find('security_opt'), context),
    devices: readDevices(find('devices')),
    deviceRules: readDeviceRules(find('device_cgroup_rules')),
    healthcheck: readHealthcheck(find('healthcheck')),
    log: readLogging(find('logging')),
    postStart: readHooks(find('post_start'), context.findVariable),
    preStop: readHooks(find('pre_stop'), context.findVariable),
    lifecycle: readLifecycle(find('x-covey'), (inner, of) => readFound(inner, of, context)),
    ports: readPorts(find('ports')),
    mounts: readMounts(find('volumes'), find('tmpfs'), context),
    secrets: readConfigUses(find('secrets')),
    configs: readConfigUses(find('configs')),
    networks: readNetworkUses(find('networks')),
    networkMode: readNetworkMode(find('network_mode'), find('networks')),
    plainRestart: readPlainRestart(find('restart')),
    plainLimits: readPlainLimits(find),
    plainReservations: readPlainReservations(find),
    deploy: readDeploy(find('deploy')),
  };
}

/** "build", "daily" and the like are Compose's: nothing here builds, and tasks are pulled for when they start. */
function readPullPolicy(field: Field | undefined): string | undefined {
  const policy = readChoice(field, ['always', 'missing', 'if_not_present', 'never']);
  return policy === 'if_not_present' ? 'missing' : policy;
}

/** A text that is split as a shell would, or a list. */
function readCommand(field: Field | undefined): readonly string[] | undefined {
  if (field === undefined) return undefined;
  if (field.tree.kind === 'list') return readTexts(field);
  return readText(field) === undefined ? undefined : readParsed(field, parseWords);
}

/** Files first, then the key itself; a name without a value takes it from the environment. */
function readEnvironment(files: Field | undefined, own: Field | undefined, context: ReadingContext): Environment {
  const environment = new Map<string, string | undefined>();
  const items = files === undefined ? [] : files.tree.kind === 'list' ? readItems(files) : [files];
  for (const item of items) for (const [name, value] of readEnvFile(item, context)) environment.set(name, value);
  for (const [name, value] of readPairs(own)) environment.set(name, value ?? context.findVariable(name));
  return environment;
}

function readEnvFile(field: Field, context: ReadingContext): readonly (readonly [string, string])[] {
  let pathField: Field | undefined = field;
  let required = true;
  if (field.tree.kind === 'map') {
    const find = readKeys(field, { what: 'an env_file', known: ['path', 'required'], notHonoured: ['format'] });
    pathField = find('path');
    required = readFlag(find('required')) ?? true;
    if (pathField === undefined) return problem(field, 'stack-type', 'has no path') ?? [];
  }
  const path = readText(pathField);
  if (path === undefined) return [];
  const data = context.findFile(context.resolvePath(path));
  if (data === undefined)
    return (required ? problem(field, 'stack-file', `names the file "${path}", which is not there`) : undefined) ?? [];
  const parsed = parseEnvFile(new TextDecoder().decode(data), context.findVariable);
  if (parsed.kind === 'ok') return parsed.value;
  return problem(field, 'stack-file', `names the file "${path}", which needs ${parsed.valid}`) ?? [];
}

function readGroups(field: Field | undefined): readonly string[] {
  return readItems(field).flatMap(item =>
    item.tree.kind === 'scalar' && /^\d+$/u.test(item.tree.text) ? [item.tree.text] : (readText(item) ?? []),
  );
}

/** A seccomp profile is read here: nodes have only its text. */
function readSecurity(field: Field | undefined, context: ReadingContext): readonly string[] {
  const find = (path: string): Uint8Array | undefined => context.findFile(context.resolvePath(path));
  return readItems(field).flatMap(item => {
    const text = readText(item);
    if (text === undefined) return [];
    const inlined = inlineProfile(text, find);
    return inlined.kind === 'ok' ? [inlined.value] : (problem(item, 'stack-type', `has to be ${inlined.valid}`) ?? []);
  });
}

function readDevices(field: Field | undefined): readonly string[] {
  return readItems(field).flatMap(item => {
    const text = item.tree.kind === 'map' ? readLongDevice(item) : readText(item);
    if (text === undefined) return [];
    const parsed = parseDevice(text);
    return parsed.kind === 'ok' ? [text] : (problem(item, 'stack-type', `has to be ${parsed.valid}`) ?? []);
  });
}

function readDeviceRules(field: Field | undefined): readonly string[] {
  return readItems(field).flatMap(item => {
    const text = readText(item);
    if (text === undefined) return [];
    const parsed = parseDeviceRule(text);
    return parsed.kind === 'ok' ? [text] : (problem(item, 'stack-type', `has to be ${parsed.valid}`) ?? []);
  });
}

function readLongDevice(field: Field): string | undefined {
  const find = readKeys(field, { what: 'a device', known: ['source', 'target', 'permissions'], notHonoured: [] });
  const source = readText(find('source'));
  if (source === undefined) return problem(field, 'stack-type', 'has no source');
  const target = readText(find('target'));
  const access = readText(find('permissions'));
  if (target === undefined && access === undefined) return source;
  return `${source}:${target ?? source}:${access ?? 'rwm'}`;
}

function readUlimit(name: string, field: Field): readonly (readonly [string, Ulimit])[] {
  const range = { min: -1, max: Number.MAX_SAFE_INTEGER };
  let soft: number | undefined;
  let hard: number | undefined;
  if (field.tree.kind === 'map') {
    const find = readKeys(field, { what: 'a ulimit', known: ['soft', 'hard'], notHonoured: [] });
    if (find('soft') === undefined || find('hard') === undefined)
      return problem(field, 'stack-type', 'needs soft and hard') ?? [];
    soft = readInteger(find('soft'), range);
    hard = readInteger(find('hard'), range);
  } else {
    soft = readInteger(field, range);
    hard = soft;
  }
  if (soft === undefined || hard === undefined) return [];
  const checked = checkUlimit({ name, soft, hard });
  return checked.kind === 'ok'
    ? [[name, checked.value]]
    : (problem(field, 'stack-type', `has to be ${checked.valid}`) ?? []);
}

/** "host:address", of lists and of maps. */
function readExtraHosts(field: Field | undefined): readonly string[] {
  return readPairs(field, { separator: /[=:]/u }).flatMap(([host, address]) => {
    const bare = address?.replace(/^\[(.*)\]$/u, '$1');
    if (field === undefined) return [];
    if (bare === undefined || bare === '') return problem(field, 'stack-type', `has no address for "${host}"`) ?? [];
    if (bare === 'host-gateway')
      return problem(field, 'stack-not-honoured', `asks for host-gateway, which is not honoured`) ?? [];
    return [`${host}:${bare}`];
  });
}

function readHealthcheck(field: Field | undefined): HealthcheckModel | undefined {
  if (field === undefined) return undefined;
  const times = ['interval', 'timeout', 'start_period', 'start_interval'];
  const find = readKeys(field, {
    what: 'a healthcheck',
    known: ['test', 'disable', 'retries', ...times],
    notHonoured: [],
  });
  const disabled = readFlag(find('disable')) === true;
  const test = readHealthTest(find('test'));
  if (disabled && test !== undefined && test[0] !== 'NONE') {
    return problem(field, 'stack-type', 'is disabled and has a test; it can be only one of them');
  }
  const asked = disabled ? ['NONE'] : test;
  return { ...(asked === undefined ? {} : { test: asked }), ...readHealthTimes(find) };
}

function readHealthTest(field: Field | undefined): readonly string[] | undefined {
  if (field === undefined) return undefined;
  if (field.tree.kind === 'scalar') {
    const text = readText(field);
    return text === undefined ? undefined : text === '' ? ['NONE'] : ['CMD-SHELL', text];
  }
  const test = readTexts(field) ?? [];
  const [kind] = test;
  const right =
    kind === 'NONE' ? test.length === 1 : kind === 'CMD' ? test.length > 1 : kind === 'CMD-SHELL' && test.length === 2;
  return right
    ? test
    : problem(field, 'stack-type', 'has to begin with CMD (and a program), CMD-SHELL (and one text) or NONE');
}

function readNetworkMode(field: Field | undefined, networks: Field | undefined): 'host' | 'none' | undefined {
  const mode = readText(field);
  if (field === undefined || mode === undefined) return undefined;
  if (mode !== 'host' && mode !== 'none') {
    return problem(field, 'stack-not-honoured', `is "${mode}"; covey has host and none`, 'use networks');
  }
  if (networks !== undefined) return problem(field, 'stack-type', 'and networks exclude one another');
  return mode;
}

/** The key that `docker run --restart` has. */
function readPlainRestart(field: Field | undefined): RestartModel | undefined {
  const text = readText(field);
  if (field === undefined || text === undefined) return undefined;
  const found = /^(no|always|unless-stopped|on-failure)(?::(\d{1,6}))?$/u.exec(text);
  if (found === null || (found[2] !== undefined && found[1] !== 'on-failure')) {
    return problem(field, 'stack-type', 'has to be no, always, unless-stopped, on-failure or on-failure:N');
  }
  const condition = found[1] === 'no' ? 'none' : found[1] === 'on-failure' ? 'on-failure' : 'any';
  return {
    condition,
    delayMs: undefined,
    attemptsMax: found[2] === undefined ? undefined : Number(found[2]),
    windowMs: undefined,
  };
}
