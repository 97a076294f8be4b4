/**
 * `covey cluster recover`: one survivor of a lost majority makes the group of managers anew.
 *
 * Not here: what happens (daemon/membership/recover.ts).
 */
import { CoveyError } from '../../errors.js';
import type { PlanRecoveryResponse, RecoverProgress } from '../../gen/types.js';
import { confirm } from '../confirm.js';
import type { CliContext } from '../context.js';
import { type CommandDefinition, type Invocation, yesOption } from '../definition.js';
import { exitCodes } from '../output/errors.js';
import { plural, renderAge } from '../output/values.js';

export const clusterRecoverCommands: readonly CommandDefinition[] = [
  {
    path: ['cluster', 'recover'],
    says: 'Go on with this manager alone, when most managers are lost for good',
    about:
      'Everything that this manager knows stays: services, tasks, networks, secrets, nodes. Running containers are kept as they are, workers find this manager by themselves. Managers that come back after all become workers. Run it on one manager only, the one that was last in touch with the others.',
    args: [],
    options: [
      { flags: '-f, --force', says: 'Also while a majority answers: the other managers become workers' },
      yesOption,
    ],
    examples: [
      { says: 'on the manager that is left', line: 'sudo covey cluster recover' },
      { says: 'from a script', line: 'sudo covey cluster recover --yes' },
    ],
    run: runRecover,
  },
];

async function runRecover({ flags }: Invocation, context: CliContext): Promise<number> {
  const { local } = await context.connect();
  await context.note('Looking for the other managers ...');
  const plan = await local.planRecovery({}, { signal: context.signal });
  const force = flags.isOn('force');
  if (plan.alive !== '' && !force) {
    throw new CoveyError('quorum-alive', 'Cannot make the group of managers anew', {
      state: plan.alive,
      hint: 'covey node demote and covey node rm take single managers out',
    });
  }
  for (const line of renderPlan(plan, context.console.clock.wallMs())) await context.note(line);
  await confirm(context, flags, { what: `recover the cluster on ${plan.nodeName} alone`, losses: lossesOf(plan) });
  let last: RecoverProgress | undefined;
  for await (const progress of local.recoverCluster({ force }, { signal: context.signal })) {
    last = progress;
    const line = renderStep(progress);
    if (line !== '') await context.note(line);
  }
  if (last?.step !== 'done')
    throw new CoveyError('no-connection', 'Cannot say how the recovery ended: the daemon has gone', {
      hint: 'covey info; asking again is harmless',
    });
  for (const line of renderOutcome(plan, last)) await context.print(line);
  return exitCodes.done;
}

function renderPlan(plan: PlanRecoveryResponse, nowMs: number): readonly string[] {
  const { managers, counts } = plan;
  const answering = managers.filter(({ answers }) => answers).length;
  const needed = Math.floor(managers.length / 2) + 1;
  const width = Math.max(0, ...managers.map(({ name }) => name.length));
  return [
    `Cluster ${plan.clusterId.slice(0, 6)}: ${answering} of ${plural(managers.length, 'manager')} answer here, ${needed} are needed.`,
    ...managers.map(({ name, addresses, own, answers }) => {
      const how = own ? 'this one' : answers ? 'answers' : 'does not answer';
      return `  ${name.padEnd(width)}  ${addresses[0] ?? '-'}  ${how}`;
    }),
    `Kept: ${plural(counts.nodes, 'node')}, ${plural(counts.services, 'service')}, ${plural(counts.tasks, 'task')}, ${plural(counts.networks, 'network')}; this manager last learnt of a change ${renderAge(nowMs - plan.changedAtMs)} ago.`,
  ];
}

function lossesOf({ managers, uncommitted, alive }: PlanRecoveryResponse): readonly string[] {
  const others = managers.filter(({ own }) => !own).map(({ name }) => name);
  return [
    ...(alive === '' ? [] : [`A majority is alive: ${alive}.`]),
    'Changes that the other managers confirmed and that have not come here are lost.',
    ...(uncommitted === 0
      ? []
      : [`The last ${uncommitted} entries of the log here may never have been confirmed; they are kept.`]),
    ...(others.length === 0 ? [] : [`${others.join(', ')}: no managers any more; workers, should they come back.`]),
  ];
}

export function renderStep({ step, nodes, nodesBack }: RecoverProgress): string {
  switch (step) {
    case 'looking':
      return '';
    case 'stopping':
      return 'ends this manager; containers run on';
    case 'writing':
      return 'writes the log of the new group';
    case 'starting':
      return 'starts as what is on disk';
    case 'leading':
      return 'leads the new group';
    case 'gathering':
      return `${nodesBack} of ${nodes} nodes are back`;
    case 'done':
      return '';
  }
}

function renderOutcome(plan: PlanRecoveryResponse, last: RecoverProgress): readonly string[] {
  const { formerManagers, missing, nodes, nodesBack } = last;
  return [
    `${plan.nodeName} is the only manager of cluster ${plan.clusterId.slice(0, 6)}; ${nodesBack} of ${plural(nodes, 'node')} connected.`,
    ...(missing.length === 0 ? [] : [`  not back yet: ${missing.join(', ')}`]),
    ...(formerManagers.length === 0 ? [] : [`  gone for good?  covey node rm ${formerManagers.join(' ')}`]),
    '  more managers:  covey token manager, or covey node promote NODE',
  ];
}
