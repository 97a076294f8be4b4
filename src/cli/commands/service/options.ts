/**
 * The options of `service create` and `service update`, with Docker's names, short forms and meaning.
 *
 * `create` takes lists under their own name (--env), `update` under --env-add and --env-rm; single values are the same in both.
 *
 * Not here: what they do to a spec (spec-flags.ts).
 */
import { type OptionDefinition, waitOptions } from '../../definition.js';
import { modeNames } from '../../records.js';
import { registryAuthOption } from '../../registry-auth.js';
import { limitOptions } from './limit-flags.js';
import { lossOptions } from './loss-flags.js';
import { readyOptions } from './ready-flags.js';
import { updateConfigOptions } from './update-flags.js';

/** Single values: they set a field of the spec. */
const valueOptions: readonly OptionDefinition[] = [
  { flags: '--replicas <number>', says: 'How many tasks' },
  {
    flags: '--endpoint-mode <mode>',
    says: 'vip (one address for the service), vip-sticky (each client stays with its task) or dnsrr (the addresses of its tasks)',
    completes: ['vip', 'vip-sticky', 'dnsrr'],
  },
  { flags: '--entrypoint <command>', says: 'Replace the ENTRYPOINT of the image' },
  { flags: '-u, --user <user>', says: 'User, and if wanted group: UID[:GID] or names' },
  { flags: '-w, --workdir <dir>', says: 'Working directory' },
  { flags: '--hostname <name>', says: 'Host name in the container' },
  {
    flags: '--pull <policy>',
    says: 'When nodes pull the image: missing (default), always or never',
    completes: ['missing', 'always', 'never'],
  },
  { flags: '--init', says: 'Run a small init as process 1 that reaps and forwards signals' },
  { flags: '-t, --tty', says: 'Give it a terminal' },
  { flags: '-i, --interactive', says: 'Keep its standard input open, for attach' },
  { flags: '--read-only', says: 'Make its root file system read-only' },
  ...limitOptions,
  { flags: '--replicas-max-per-node <number>', says: 'No more tasks than this on one node (0: no limit)' },
  {
    flags: '--restart-condition <condition>',
    says: 'any (default), on-failure or none',
    completes: ['any', 'on-failure', 'none'],
  },
  { flags: '--restart-delay <duration>', says: 'First wait before a restart; it doubles up to a minute (default 1s)' },
  { flags: '--restart-max-attempts <number>', says: 'Give up after so many (0: never)' },
  { flags: '--restart-window <duration>', says: 'Count only failures within this time (0: all)' },
  { flags: '--stop-signal <signal>', says: 'Signal that asks it to stop (default: of the image, else SIGTERM)' },
  { flags: '--stop-grace-period <duration>', says: 'Time from that signal to SIGKILL (default 10s)' },
  { flags: '--health-cmd <command>', says: 'Command whose exit code says whether it is healthy' },
  { flags: '--health-http <url>', says: 'It is healthy when this answers 200 to 399, such as :8080/live' },
  { flags: '--health-tcp <port>', says: 'It is healthy when this port accepts a connection' },
  { flags: '--health-grpc <port>', says: 'It is healthy when gRPC health says so: PORT[/SERVICE]' },
  { flags: '--health-interval <duration>', says: 'Time between two checks (default 30s)' },
  { flags: '--health-timeout <duration>', says: 'A check that takes longer has failed (default 30s)' },
  { flags: '--health-retries <number>', says: 'Failures in a row that make it unhealthy (default 3)' },
  { flags: '--health-start-period <duration>', says: 'Failures count only after this time' },
  { flags: '--health-start-interval <duration>', says: 'Time between checks in the start period (default 5s)' },
  { flags: '--no-healthcheck', says: 'Run without the health check of the image' },
  {
    flags: '--log-driver <driver>',
    says: 'json-file or local: both keep files on the node',
    completes: ['json-file', 'local'],
  },
  {
    flags: '--log-opt <option>',
    says: 'max-size=10m or max-file=3: files of its log, looked at each 1 to 8 s',
    many: true,
  },
  { flags: '--shm-size <size>', says: 'Size of /dev/shm (default 64M)' },
  {
    flags: '--userns <mode>',
    says: 'auto: root inside is an ordinary user of the host; host: no user namespace (default: as the node has it)',
    completes: ['auto', 'host'],
  },
  { flags: '--privileged', says: 'All rights on the machine, on nodes that allow it' },
  ...readyOptions,
  { flags: '--oom-score-adj <number>', says: 'Whom the kernel kills first, from -1000 to 1000' },
];

/** Lists: `many` under their own name in create, with -add and -rm in update. */
interface ListOption {
  readonly name: string;
  readonly short?: string;
  readonly value: string;
  readonly says: string;
  readonly removeValue: string;
}

const lists: readonly ListOption[] = [
  {
    name: 'env',
    short: 'e',
    value: 'name=value',
    says: 'Environment variable; without a value, that of this shell',
    removeValue: 'name',
  },
  {
    name: 'publish',
    short: 'p',
    value: 'port',
    says: 'Published port: PUBLISHED:TARGET[/udp] or published=…,target=…,mode=host',
    removeValue: 'target-port',
  },
  {
    name: 'mount',
    value: 'mount',
    says: 'type=bind|volume|tmpfs|image|shared, source=…, target=…, readonly: with commas, without blanks',
    removeValue: 'target',
  },
  { name: 'network', value: 'network', says: 'Network to join: NAME or name=…,alias=…', removeValue: 'network' },
  {
    name: 'constraint',
    value: 'constraint',
    says: 'Only nodes for which this holds, such as node.labels.disk==ssd',
    removeValue: 'constraint',
  },
  {
    name: 'placement-pref',
    value: 'preference',
    says: 'Spread over the values of a label, such as spread=node.labels.zone',
    removeValue: 'preference',
  },
  {
    name: 'secret',
    value: 'secret',
    says: 'Secret as a file: NAME or source=…,target=…,mode=0400',
    removeValue: 'secret',
  },
  { name: 'config', value: 'config', says: 'Config as a file: NAME or source=…,target=…', removeValue: 'config' },
  { name: 'label', short: 'l', value: 'label', says: 'Label of the service, KEY=VALUE', removeValue: 'key' },
  { name: 'container-label', value: 'label', says: 'Label of its containers, KEY=VALUE', removeValue: 'key' },
  { name: 'host', value: 'host:address', says: 'Line for /etc/hosts', removeValue: 'host:address' },
  {
    name: 'dns',
    value: 'address',
    says: 'Resolver for names outside of the cluster, instead of those of the node',
    removeValue: 'address',
  },
  { name: 'dns-option', value: 'option', says: 'Option for the resolver', removeValue: 'option' },
  { name: 'dns-search', value: 'domain', says: 'Domain to search', removeValue: 'domain' },
  { name: 'group', value: 'group', says: 'Further group of the user', removeValue: 'group' },
  { name: 'ulimit', value: 'limit', says: 'Resource limit, such as nofile=1024:2048', removeValue: 'name' },
  {
    name: 'tmpfs',
    value: 'path',
    says: 'Directory in memory: PATH or PATH:size=64m,mode=1777,ro',
    removeValue: 'path',
  },
  {
    name: 'device',
    value: 'device',
    says: 'Device of the node: PATH[:PATH-INSIDE][:rwm], or a CDI name such as vendor.com/gpu=0',
    removeValue: 'device',
  },
  {
    name: 'device-cgroup-rule',
    value: 'rule',
    says: 'What it may do with devices that it makes or finds, such as "c 10:229 rwm"',
    removeValue: 'rule',
  },
  {
    name: 'security-opt',
    value: 'option',
    says: 'seccomp=unconfined|FILE, apparmor=PROFILE, label=…, no-new-privileges, systempaths=unconfined',
    removeValue: 'option',
  },
  { name: 'sysctl', value: 'name=value', says: 'Kernel parameter of its namespaces', removeValue: 'name' },
];

const capabilityOptions: readonly OptionDefinition[] = [
  { flags: '--cap-add <capability>', says: 'Capability to give (ALL for all)', many: true },
  { flags: '--cap-drop <capability>', says: 'Capability to take away (ALL for all)', many: true },
];

export const createOptions: readonly OptionDefinition[] = [
  { flags: '--name <name>', says: 'Name of the service (default: that of the image)' },
  {
    flags: '--mode <mode>',
    says: 'replicated (default), global: one task on every node; replicated-job, global-job: the same, run to their end',
    completes: modeNames,
  },
  { flags: '--max-concurrent <number>', says: 'Tasks of a replicated-job at a time (default: all)' },
  ...lists.map(list => ({
    flags: `${list.short === undefined ? '' : `-${list.short}, `}--${list.name} <${list.value}>`,
    says: list.says,
    many: true,
    ...(list.name === 'network' ? { completes: 'network' as const } : {}),
  })),
  { flags: '--env-file <file>', says: 'File of NAME=value lines', many: true, completes: 'file' },
  ...valueOptions,
  ...capabilityOptions,
  ...updateConfigOptions,
  ...lossOptions,
  { flags: '-q, --quiet', says: 'Print only the id' },
  registryAuthOption,
  ...waitOptions,
];

export const updateOptions: readonly OptionDefinition[] = [
  { flags: '--max-concurrent <number>', says: 'Tasks of a replicated-job at a time; 0: all' },
  { flags: '--image <image>', says: 'Image from now on', completes: 'image' },
  { flags: '--args <command>', says: 'Replace the arguments after the entrypoint' },
  ...lists.flatMap(list => [
    { flags: `--${list.name}-add <${list.value}>`, says: `Add or change: ${list.says}`, many: true },
    { flags: `--${list.name}-rm <${list.removeValue}>`, says: 'Remove it', many: true },
  ]),
  ...valueOptions,
  ...capabilityOptions,
  ...updateConfigOptions,
  ...lossOptions,
  { flags: '--force', says: 'Replace all tasks even when nothing changes' },
  { flags: '--rollback', says: 'Go back to the earlier spec, as `service rollback` does' },
  { flags: '--pause', says: 'Pause the update under way' },
  { flags: '--resume', says: 'Let a paused update go on' },
  { flags: '-q, --quiet', says: 'Print only the id' },
  registryAuthOption,
  ...waitOptions,
];
