/**
 * What a service says about the life of its task: hooks, and under `x-covey` (which other tools leave alone) checks,
 * init containers, sidecars and directories that the containers share.
 *
 *     x-covey:
 *       ready: { http: { port: 8080, path: /ready }, interval: 2s }     or exec: …, tcp: 5432, grpc: 9000
 *       health: { http: :8080/live, interval: 10s }                     or tcp: …, grpc: …; a program is `healthcheck`
 *       init: [ { name: migrate, image: app:2, command: migrate } ]
 *       sidecars: [ { name: proxy, image: proxy:1, restart: always, ready: { tcp: 8443 } } ]
 *       shared: { spool: /var/spool/app, ram: { target: /ram, size: 64m } }
 *
 * Not here: the keys that these containers have in common with a service (service.ts gives its reader).
 */
import type { ContainerRole, HealthProbe, Hook, Mount, ReadyCheck, SidecarRestart } from '../../gen/types.js';
import {
  type Field,
  type FindField,
  problem,
  readChoice,
  readEntries,
  readInteger,
  readItems,
  readKeys,
  readPairs,
  readParsed,
  readText,
  readTexts,
} from './fields.js';
import type { HealthcheckModel, LifecycleModel, MemberModel, ServiceModel } from './model.js';
import { plainMount } from './mounts.js';
import { parseGrpcProbe, parseHttpProbe, parseTcpProbe } from './probes.js';
import { parseBytes, parseDurationMs, parseWords } from './values.js';
import type { FindVariable } from './variables.js';

/** Reads the keys of a container as those of a service. */
export type ReadContainer = (find: FindField, field: Field) => ServiceModel;

const memberKeys = [
  ...[
    'name',
    'image',
    'command',
    'entrypoint',
    'environment',
    'env_file',
    'labels',
    'working_dir',
    'user',
    'group_add',
  ],
  ...['stop_signal', 'stop_grace_period', 'init', 'tty', 'stdin_open', 'read_only', 'shm_size', 'oom_score_adj'],
  ...[
    'cap_add',
    'cap_drop',
    'ulimits',
    'healthcheck',
    'volumes',
    'tmpfs',
    'secrets',
    'configs',
    'post_start',
    'pre_stop',
  ],
];
const memberNotHonoured = [
  'ports',
  'networks',
  'network_mode',
  'deploy',
  'build',
  'depends_on',
  'hostname',
  'privileged',
];
const countMax = 1_000_000;
const networkKinds = ['http', 'tcp', 'grpc'];
const portRange = { min: 1, max: 65_535 };

const noLifecycle: LifecycleModel = { ready: undefined, health: undefined, members: [], shared: [] };

export function readLifecycle(field: Field | undefined, read: ReadContainer): LifecycleModel {
  if (field === undefined) return noLifecycle;
  const find = readKeys(field, {
    what: 'x-covey',
    known: ['ready', 'health', 'init', 'sidecars', 'shared'],
    notHonoured: [],
    strict: true,
  });
  return {
    ready: readReady(find('ready')),
    health: readHealth(find('health')),
    members: [
      ...readItems(find('init')).map(item => readMember(item, 'init', read)),
      ...readItems(find('sidecars')).map(item => readMember(item, 'sidecar', read)),
    ],
    shared: readEntries(find('shared')).flatMap(([name, entry]) => readShared(name, entry) ?? []),
  };
}

function readMember(field: Field, role: ContainerRole, read: ReadContainer): MemberModel {
  const known = role === 'sidecar' ? [...memberKeys, 'restart', 'ready', 'health'] : memberKeys;
  const what = role === 'sidecar' ? 'a sidecar' : 'an init container';
  const find = readKeys(field, { what, known, notHonoured: memberNotHonoured });
  const name = readText(find('name'));
  if (name === undefined) problem(field, 'stack-type', 'has no name');
  if (find('image') === undefined) problem(field, 'stack-type', 'has no image');
  return {
    name: name ?? '',
    role,
    restart: readRestart(find('restart')),
    ready: readReady(find('ready')),
    health: readHealth(find('health')),
    // What a service alone has, and the keys read above, are not there for its reader.
    service: read(key => (key === 'restart' ? undefined : find(key)), field),
  };
}

function readRestart(field: Field | undefined): SidecarRestart {
  const text = readChoice(field, ['always', 'on-failure', 'no']) ?? 'always';
  return text === 'no' ? 'never' : text;
}

function readShared(name: string, field: Field): Mount | undefined {
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$/u.test(name))
    return problem(field, 'stack-type', 'has a name that is not letters, digits, "_", "." and "-"');
  if (field.tree.kind !== 'map') return sharedMount(field, { name, target: readText(field), sizeBytes: 0 });
  const find = readKeys(field, { what: 'a shared directory', known: ['target', 'size'], notHonoured: [] });
  const sizeBytes = readParsed(find('size'), parseBytes) ?? 0;
  return sharedMount(field, { name, target: readText(find('target')), sizeBytes });
}

function sharedMount(
  field: Field,
  {
    name,
    target,
    sizeBytes,
  }: { readonly name: string; readonly target: string | undefined; readonly sizeBytes: number },
): Mount | undefined {
  if (target === undefined || !target.startsWith('/'))
    return problem(field, 'stack-type', 'has to have an absolute target');
  return { ...plainMount('shared', target), source: name, tmpfsBytes: sizeBytes };
}

function readReady(field: Field | undefined): ReadyCheck | undefined {
  if (field === undefined) return undefined;
  const kinds = ['exec', ...networkKinds];
  const find = readKeys(field, {
    what: 'a ready check',
    known: [...kinds, 'interval', 'timeout', 'initial_delay', 'retries', 'successes'],
    notHonoured: [],
  });
  const given = kinds.filter(kind => find(kind) !== undefined);
  if (given.length !== 1) return problem(field, 'stack-type', `needs exactly one of ${kinds.join(', ')}`);
  const probe = readProbe(find, field);
  if (probe === undefined) return undefined;
  return {
    intervalMs: readParsed(find('interval'), parseDurationMs) ?? 0,
    timeoutMs: readParsed(find('timeout'), parseDurationMs) ?? 0,
    initialDelayMs: readParsed(find('initial_delay'), parseDurationMs) ?? 0,
    failures: readInteger(find('retries'), { min: 0, max: countMax }) ?? 0,
    successes: readInteger(find('successes'), { min: 0, max: countMax }) ?? 0,
    probe,
  };
}

/** The times have the names that they have in `healthcheck`. */
function readHealth(field: Field | undefined): HealthcheckModel | undefined {
  if (field === undefined) return undefined;
  const find = readKeys(field, {
    what: 'a health check over the network',
    known: [...networkKinds, ...['interval', 'timeout', 'start_period', 'start_interval', 'retries']],
    notHonoured: [],
  });
  const given = networkKinds.filter(kind => find(kind) !== undefined);
  if (given.length !== 1)
    return problem(
      field,
      'stack-type',
      `needs exactly one of ${networkKinds.join(', ')}`,
      'a program is a healthcheck',
    );
  const ask = readNetworkProbe(find, field);
  return ask === undefined ? undefined : { ...readHealthTimes(find), probe: { ask } };
}

/** Of a `healthcheck` as well. */
export function readHealthTimes(find: FindField): HealthcheckModel {
  const times = {
    intervalMs: readParsed(find('interval'), parseDurationMs),
    timeoutMs: readParsed(find('timeout'), parseDurationMs),
    startPeriodMs: readParsed(find('start_period'), parseDurationMs),
    startIntervalMs: readParsed(find('start_interval'), parseDurationMs),
    retries: readInteger(find('retries'), { min: 0, max: countMax }),
  };
  return Object.fromEntries(Object.entries(times).filter(([, value]) => value !== undefined));
}

function readProbe(find: FindField, field: Field): ReadyCheck['probe'] | undefined {
  const exec = find('exec');
  if (exec === undefined) return readNetworkProbe(find, field);
  const test = readExecTest(exec);
  return test === undefined ? undefined : { kind: 'exec', test };
}

function readNetworkProbe(find: FindField, field: Field): HealthProbe['ask'] | undefined {
  const http = find('http');
  if (http !== undefined) return http.tree.kind === 'map' ? readHttp(http) : readParsed(http, parseHttpProbe);
  const tcp = find('tcp');
  if (tcp !== undefined) return readParsed(tcp, parseTcpProbe);
  const grpc = find('grpc');
  return grpc === undefined ? problem(field, 'stack-type', 'asks nothing') : readParsed(grpc, parseGrpcProbe);
}

/** A text for the shell, or a program with its arguments; a leading CMD or CMD-SHELL is Docker's way to say which. */
function readExecTest(field: Field): readonly string[] | undefined {
  if (field.tree.kind === 'scalar') {
    const text = readText(field);
    return text === undefined ? undefined : ['CMD-SHELL', text];
  }
  const test = readTexts(field) ?? [];
  if (test.length === 0) return problem(field, 'stack-type', 'has no program');
  return test[0] === 'CMD' || test[0] === 'CMD-SHELL' ? test : ['CMD', ...test];
}

function readHttp(field: Field): HealthProbe['ask'] | undefined {
  const find = readKeys(field, {
    what: 'an HTTP check',
    known: ['port', 'path', 'scheme', 'headers', 'status'],
    notHonoured: [],
  });
  const port = readInteger(find('port'), portRange);
  if (find('port') === undefined) return problem(field, 'stack-type', 'has no port');
  const status = readText(find('status'));
  const range = /^([1-5]\d\d)(?:-([1-5]\d\d))?$/u.exec(status ?? '200-399');
  if (range === null) return problem(field, 'stack-type', 'has a status that is not like "204" or "200-299"');
  const path = readText(find('path')) ?? '/';
  if (!path.startsWith('/')) return problem(field, 'stack-type', 'has a path that does not begin with "/"');
  return {
    kind: 'http',
    scheme: readChoice(find('scheme'), ['http', 'https']) ?? 'http',
    port: port ?? 0,
    path,
    headers: Object.fromEntries(
      readPairs(find('headers'), { separator: /[:=]/u }).map(([name, value]) => [name, value ?? '']),
    ),
    statusMin: Number(range[1]),
    statusMax: Number(range[2] ?? range[1]),
  };
}

/** `post_start` and `pre_stop`. */
export function readHooks(field: Field | undefined, findVariable: FindVariable): readonly Hook[] {
  return readItems(field).flatMap(item => {
    const find = readKeys(item, {
      what: 'a hook',
      known: ['command', 'user', 'working_dir', 'environment'],
      notHonoured: ['privileged'],
    });
    const command = find('command');
    const words = command?.tree.kind === 'list' ? readTexts(command) : readParsed(command, parseWords);
    if (command === undefined || words?.length === 0) return problem(item, 'stack-type', 'has no command') ?? [];
    const env = readPairs(find('environment')).flatMap(([name, value]) => {
      const text = value ?? findVariable(name);
      return text === undefined ? [] : [`${name}=${text}`];
    });
    return [
      {
        command: words ?? [],
        user: readText(find('user')) ?? '',
        workingDir: readText(find('working_dir')) ?? '',
        env,
        timeoutMs: 0,
      },
    ];
  });
}
