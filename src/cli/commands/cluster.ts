/**
 * Commands about this machine and its cluster: init, join, leave, info, doctor.
 *
 * Not here: tokens (token.ts), nodes (node.ts), the probes behind doctor (daemon/doctor).
 */
import { CoveyError, codeOf } from '../../errors.js';
import type { Finding, InfoResponse } from '../../gen/types.js';
import { parseInteger, splitPair } from '../../tasks/spec/values.js';
import { confirm } from '../confirm.js';
import type { CliContext } from '../context.js';
import {
  type CommandDefinition,
  formatOption,
  type Invocation,
  type OptionDefinition,
  yesOption,
} from '../definition.js';
import { type Flags, orBadValue } from '../flags.js';
import { paint, stateColour } from '../output/colours.js';
import { exitCodes } from '../output/errors.js';
import { type JsonRecord, parseFormat } from '../output/format.js';
import { printRecords } from '../output/list.js';
import { visibleText, wrapWords } from '../output/text.js';
import { plural, renderAge, renderBytes, renderCpus, renderTime } from '../output/values.js';
import { hostOf } from '../records.js';

const nodeOptions: readonly OptionDefinition[] = [
  { flags: '--name <name>', says: 'Name of this node (default: the host name)' },
  { flags: '--advertise-addr <address>', says: 'Address or link at which the other nodes reach this one' },
  {
    flags: '--data-path-addr <address>',
    says: 'Address or link for the traffic of containers (default: the advertised one)',
  },
  { flags: '-l, --label <label>', says: 'Label of this node, KEY=VALUE', many: true },
];

export const clusterCommands: readonly CommandDefinition[] = [
  {
    path: ['init'],
    says: 'Make a cluster with this machine as its first manager',
    args: [],
    options: [
      ...nodeOptions,
      { flags: '--pool <subnet>', says: 'Addresses that networks get theirs from (default 10.208.0.0/12)' },
      { flags: '--default-addr-pool <subnet>', says: 'The same, as Docker calls it' },
      { flags: '--default-addr-pool-mask-length <bits>', says: 'Length of the pieces that networks get (default 20)' },
      { flags: '--lost-after <duration>', says: 'A node that is silent this long is lost (default 10s)' },
      { flags: '--heartbeat <duration>', says: 'Time between two heartbeats of a node (default 1s)' },
      { flags: '--cert-expiry <duration>', says: 'Life of the certificates of nodes (default 90d)' },
      { flags: '--autolock', says: 'Managers need an unlock key when they start' },
      { flags: '--encrypt', says: 'Encrypt the traffic of containers between nodes (WireGuard)' },
      { flags: '-q, --quiet', says: 'Print only the token for workers' },
    ],
    examples: [
      { says: 'on the first machine', line: 'sudo covey init' },
      { says: 'on a machine with several networks', line: 'sudo covey init --advertise-addr 10.0.0.11 --name rack1' },
    ],
    run: runInit,
  },
  {
    path: ['join'],
    says: 'Make this machine a node of a cluster',
    about:
      'The address is that of any manager; its port is 7377 when none is given. With "--token -" the token is read from standard input, so that it stands in no process list.',
    args: [{ name: 'HOST[:PORT]', needed: true }],
    options: [{ flags: '--token <token>', says: 'From "covey token worker"' }, ...nodeOptions],
    examples: [
      { says: 'with the line that init printed', line: 'sudo covey join --token CVTKN-1-… 10.0.0.11:7377' },
      {
        says: 'without showing the token to other users',
        line: 'sudo covey join --token - --name edge-a 10.0.0.11 < token.txt',
      },
    ],
    run: runJoin,
  },
  {
    path: ['leave'],
    says: 'End the membership of this machine: stop its containers, undo its changes',
    args: [],
    options: [
      { flags: '-f, --force', says: 'Even when it is the last manager, or when no manager answers' },
      yesOption,
    ],
    examples: [
      { says: 'a worker goes in an orderly way', line: 'sudo covey leave' },
      { says: 'give up the whole cluster on its only manager', line: 'sudo covey leave --force' },
    ],
    run: runLeave,
  },
  {
    path: ['info'],
    says: 'Show this machine, its daemon and its cluster',
    args: [],
    options: [formatOption],
    examples: [
      { says: 'at a glance', line: 'covey info' },
      { says: 'the role of this node, for a script', line: "covey info --format '{{.role}}'" },
    ],
    run: runInfo,
  },
  {
    path: ['doctor'],
    says: 'Check what this machine lacks, what that costs and how to mend it',
    about: 'The exit code is 1 when a finding is "fail".',
    args: [],
    options: [
      { flags: '--changes', says: 'Show what covey has changed on this machine; "leave" undoes it' },
      formatOption,
    ],
    examples: [
      { says: 'all findings', line: 'sudo covey doctor' },
      { says: 'what leave would undo', line: 'sudo covey doctor --changes' },
    ],
    run: runDoctor,
  },
];

/** "KEY=VALUE", several times. */
export function labelsOf(flags: Flags, name = 'label'): Readonly<Record<string, string>> {
  return Object.fromEntries(
    flags.list(name).map(text => {
      const pair = splitPair(text);
      if (pair.name === '')
        throw new CoveyError('bad-argument', `Cannot use "${text}" for --${name}`, { hint: 'give KEY=VALUE' });
      return [pair.name, pair.value ?? ''] as const;
    }),
  );
}

function poolOf(flags: Flags): string {
  const [ours, theirs] = [flags.text('pool'), flags.text('default-addr-pool')];
  if (ours !== undefined && theirs !== undefined && ours !== theirs) {
    throw new CoveyError('bad-argument', 'Cannot make a cluster with two pools', {
      state: `--pool ${ours}, --default-addr-pool ${theirs}`,
      hint: 'they are two names of one option',
    });
  }
  return ours ?? theirs ?? '';
}

async function runInit({ flags }: Invocation, context: CliContext): Promise<number> {
  const { local } = await context.connect();
  const certificateMs = flags.durationMs('cert-expiry') ?? 0;
  const answer = await local.init(
    {
      name: flags.text('name') ?? '',
      advertiseAddress: flags.text('advertise-addr') ?? '',
      dataPathAddress: flags.text('data-path-addr') ?? '',
      pool: poolOf(flags),
      poolPieceBits:
        flags.parsed('default-addr-pool-mask-length', text => parseInteger(text, { min: 1, max: 29 })) ?? 0,
      labels: labelsOf(flags),
      lostAfterMs: flags.durationMs('lost-after') ?? 0,
      heartbeatMs: flags.durationMs('heartbeat') ?? 0,
      encrypt: flags.onOff('encrypt'),
      certificateDays: certificateMs === 0 ? 0 : Math.max(1, Math.round(certificateMs / 86_400_000)),
      autolock: flags.isOn('autolock'),
    },
    { signal: context.signal },
  );
  if (flags.isOn('quiet')) {
    await context.print(answer.workerToken);
    return exitCodes.done;
  }
  await context.print(
    [
      `Cluster ${answer.clusterId.slice(0, 6)} created on ${answer.nodeName} (manager, ${answer.address}).`,
      '',
      `  Add a worker:   covey join --token ${answer.workerToken} ${answer.address}`,
      '  Look around:    covey info · covey doctor · covey stack deploy -c stack.yaml demo',
      ...(answer.unlockKey === undefined
        ? []
        : ['', 'Managers need this key when they start; keep it in a safe place:', '', `  ${answer.unlockKey}`]),
    ].join('\n'),
  );
  return exitCodes.done;
}

async function runJoin({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const token = await readToken(flags, context);
  const { local } = await context.connect();
  const answer = await local.joinCluster(
    {
      address: withPort(args[0] ?? ''),
      token,
      name: flags.text('name') ?? '',
      advertiseAddress: flags.text('advertise-addr') ?? '',
      dataPathAddress: flags.text('data-path-addr') ?? '',
      labels: labelsOf(flags),
    },
    { signal: context.signal },
  );
  await context.print(`${answer.nodeName} is a ${answer.role} of cluster ${answer.clusterId.slice(0, 6)}.`);
  return exitCodes.done;
}

async function readToken(flags: Flags, context: CliContext): Promise<string> {
  const given = flags.text('token') ?? context.console.env['COVEY_TOKEN'];
  if (given === undefined) {
    throw new CoveyError('bad-argument', 'Cannot join without --token', {
      hint: 'covey token worker, on a manager, makes one',
    });
  }
  if (given !== '-') return given.trim();
  let text = '';
  for await (const chunk of context.console.stdin.read()) {
    text += new TextDecoder().decode(chunk);
    if (text.length > 4_096)
      throw new CoveyError(
        'bad-argument',
        'Cannot read a token from standard input: it is longer than 4096 characters',
      );
  }
  return text.trim();
}

/** The default port, where none is given. */
export function withPort(address: string): string {
  if (/^\[[^\]]+\]$/u.test(address) || /^[^:]+$/u.test(address)) return `${address}:7377`;
  if (/^[0-9a-f]*:[0-9a-f:.]*$/iu.test(address) && address.split(':').length > 2) return `[${address}]:7377`;
  const port = address.slice(address.lastIndexOf(':') + 1);
  orBadValue('HOST:PORT', address, parseInteger(port, { min: 1, max: 65_535 }));
  return address;
}

async function runLeave({ flags }: Invocation, context: CliContext): Promise<number> {
  const { local } = await context.connect();
  const leave = async (force: boolean): Promise<number> => {
    const answer = await local.leaveCluster({ force }, { signal: context.signal });
    await context.print(`This machine has left its cluster: ${plural(answer.tasksStopped, 'task')} stopped.`);
    for (const line of answer.undone) await context.print(`  undone  ${visibleText(line)}`);
    return exitCodes.done;
  };
  try {
    return await leave(flags.isOn('force'));
  } catch (error) {
    if (codeOf(error) !== 'last-manager' || flags.isOn('force')) throw error;
    if (!flags.isOn('yes') && !(context.isInteractive && context.console.stdin.isTerminal)) throw error;
    await confirm(context, flags, {
      what: 'leave and give up the cluster',
      losses: ['This is the only manager: the cluster and everything in it will be gone.'],
    });
    return await leave(true);
  }
}

function infoRecord(info: InfoResponse): JsonRecord {
  return {
    version: info.version,
    inCluster: info.inCluster,
    clusterId: info.clusterId,
    nodeId: info.nodeId,
    nodeName: info.nodeName,
    role: info.inCluster ? info.role : '',
    leader: info.leader,
    connected: info.connected,
    locked: info.lock !== undefined,
    managers: info.managers.map(manager => ({
      nodeId: manager.nodeId,
      addresses: manager.addresses,
      leader: manager.leader,
    })),
    nodes: info.counts?.nodes ?? 0,
    services: info.counts?.services ?? 0,
    tasks: info.counts?.tasks ?? 0,
    networks: info.counts?.networks ?? 0,
    tasksRunning: info.tasksRunning,
    dataDir: info.dataDir,
    runDir: info.runDir,
    socket: info.socket,
    listenAddress: info.listenAddress,
    prefix: info.prefix,
    runtime: info.runtime,
    pid: info.pid,
    startedAt: renderTime(info.startedAtMs),
    nodeVersion: info.nodeVersion,
    description: { ...info.description },
  };
}

async function runInfo({ flags }: Invocation, context: CliContext): Promise<number> {
  const { local } = await context.connect();
  const info = await local.info({}, { signal: context.signal });
  const format = parseFormat(flags.text('format') ?? 'table');
  if (format.kind !== 'table') {
    await printRecords(context, format, [{ record: infoRecord(info), name: info.nodeName }]);
    return exitCodes.done;
  }
  for (const [label, text] of infoRows(info, context.console.clock.wallMs()))
    await context.print(`${label.padEnd(10)} ${visibleText(text)}`);
  return exitCodes.done;
}

function infoRows(info: InfoResponse, nowMs: number): readonly (readonly [string, string])[] {
  const { description } = info;
  const up = renderAge(nowMs - info.startedAtMs);
  const machine = [
    `${description.os} ${description.architecture}, kernel ${description.kernel}`,
    `${renderCpus(description.cpuNanos)} CPUs`,
    renderBytes(description.memoryBytes),
  ];
  const daemon = `covey ${info.version} on Node ${info.nodeVersion}, process ${info.pid}, up ${up}`;
  const local: (readonly [string, string])[] = [
    ['machine', machine.join(' · ')],
    ['daemon', daemon],
    ['runtime', `${info.runtime || 'none'} · cgroups ${description.cgroup || 'none'} · prefix ${info.prefix}`],
    ['files', `${info.dataDir} · ${info.runDir} · ${info.socket}`],
  ];
  if (!info.inCluster) return [['cluster', 'none yet: covey init makes one, covey join enters one'], ...local];
  const { counts } = info;
  const managers = info.managers
    .map(one => `${hostOf(one.addresses[0] ?? '')}${one.leader ? ' (leader)' : ''}`)
    .join(', ');
  const numbers =
    counts &&
    `${plural(counts.nodes, 'node')} · ${plural(counts.services, 'service')} · ${plural(counts.tasks, 'task')}`;
  const role = `${info.role}${info.leader ? ' (leader)' : ''}${info.lock === undefined ? '' : ' · locked: covey unlock'}`;
  const link = info.role === 'worker' ? ` · ${info.connected ? 'connected' : 'no manager answers'}` : '';
  return [
    ['cluster', [info.clusterId, ...(numbers === undefined ? [] : [numbers])].join(' · ')],
    ['node', `${info.nodeName} · ${role}${link} · ${plural(info.tasksRunning, 'task')} here`],
    ['managers', managers || 'unknown'],
    ['listens', info.listenAddress],
    ...local,
  ];
}

async function runDoctor({ flags }: Invocation, context: CliContext): Promise<number> {
  const { local } = await context.connect();
  const changes = flags.isOn('changes');
  const answer = await local.doctor({ changes }, { signal: context.signal });
  const format = parseFormat(flags.text('format') ?? 'table');
  if (changes) {
    const lines = answer.changes.length > 0 ? answer.changes : ['covey has changed nothing on this machine'];
    if (format.kind === 'table') await context.print(lines.map(visibleText).join('\n'));
    else
      await printRecords(
        context,
        format,
        answer.changes.map(change => ({ record: { change }, name: change })),
      );
    return exitCodes.done;
  }
  if (format.kind === 'table') {
    const screen = {
      colours: context.colours,
      columns: context.isInteractive ? context.console.stdout.size().columns : undefined,
    };
    for (const line of renderFindings(answer.findings, screen)) await context.print(line);
  } else
    await printRecords(
      context,
      format,
      answer.findings.map(finding => ({ record: { ...finding }, name: finding.code })),
    );
  return answer.findings.some(finding => finding.level === 'fail') ? exitCodes.failed : exitCodes.done;
}

/** A line for each finding, with its remedy beside it, or below it where the screen is narrow. */
export function renderFindings(
  findings: readonly Finding[],
  screen: { readonly colours: boolean; readonly columns: number | undefined },
): readonly string[] {
  return findings.flatMap(({ level, code, message, hint }) => {
    const remedy = level === 'ok' ? '' : hint || `covey explain ${code}`;
    const label = `${paint(level, screen.colours ? stateColour(level) : undefined)}${' '.repeat(8 - level.length)}`;
    const beside = remedy === '' ? message : `${message}  (${remedy})`;
    if (screen.columns === undefined || 8 + beside.length <= screen.columns) return [label + visibleText(beside)];
    const room = Math.max(40, screen.columns - 8);
    const [first = '', ...rest] = [
      ...wrapWords(visibleText(message), room),
      ...(remedy === '' ? [] : wrapWords(`(${visibleText(remedy)})`, room)),
    ];
    return [label + first, ...rest.map(line => `        ${line}`)];
  });
}
