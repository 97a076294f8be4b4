/**
 * Whether specs make sense by themselves. Each refusal names the field and what would be valid.
 *
 * Called by services.ts, networks.ts and stacks.ts. Not here: what depends on other objects (resolve.ts), limits
 * (resources.ts).
 */
import type {
  LossPolicy,
  NetworkSpec,
  PortSpec,
  RestartPolicy,
  ServiceSpec,
  TaskSpec,
  UpdateConfig,
} from '../../gen/types.js';
import { portKey } from '../allocate/ports.js';
import { parsePrefix } from '../allocate/prefix.js';
import { isJob } from '../orchestrate/job.js';
import { findKeyProblem, parseConstraint } from '../schedule/constraints.js';
import { checkLabels, checkName, findDuplicate, refuseAt } from './check.js';
import { checkContainers } from './containers.js';
import { checkResources } from './resources.js';

const replicasMax = 10_000;
/** Shorter silences are everyday. */
const lossMinMs = 1_000;
/** An update needs some time for each task. */
const deadlineMinMs = 1_000;

export function checkServiceSpec(spec: ServiceSpec, path: string): void {
  checkName(spec.name, `${path}.name`);
  if (spec.stack !== '') checkName(spec.stack, `${path}.stack`);
  checkLabels(spec.labels, `${path}.labels`);
  if (spec.mode.kind === 'replicated' && spec.mode.replicas > replicasMax) {
    refuseAt(`${path}.replicas`)(`${spec.mode.replicas} is more than ${replicasMax}`);
  }
  checkJob(spec, path);
  checkTask(spec.task, `${path}.task`);
  checkPorts(spec, path);
  checkUpdate(spec.update, `${path}.update`);
  checkUpdate(spec.rollback, `${path}.rollback`);
  checkLoss(spec.loss, `${path}.loss`);
  if (spec.rollback?.failureAction === 'rollback') {
    refuseAt(`${path}.rollback.failureAction`)('a rollback is not rolled back; use pause or continue');
  }
}

function checkJob({ mode, update, rollback }: ServiceSpec, path: string): void {
  if (!isJob(mode)) return;
  if (update !== undefined || rollback !== undefined)
    refuseAt(`${path}.update`)('a job is not updated step by step: a change begins it anew');
  if (mode.kind !== 'replicatedJob') return;
  for (const key of ['completions', 'concurrentMax'] as const)
    if (mode[key] > replicasMax) refuseAt(`${path}.${key}`)(`${mode[key]} is more than ${replicasMax}`);
}

function checkUpdate(config: UpdateConfig | undefined, path: string): void {
  if (config === undefined) return;
  const { maxFailureRatio: ratio, deadlineMs } = config;
  if (!(ratio >= 0 && ratio <= 1)) refuseAt(`${path}.maxFailureRatio`)(`${ratio} is not within 0 and 1`);
  if (deadlineMs !== undefined && deadlineMs < deadlineMinMs) {
    refuseAt(`${path}.deadlineMs`)(`${deadlineMs} ms is less than ${deadlineMinMs} ms`);
  }
}

function checkLoss(loss: LossPolicy | undefined, path: string): void {
  for (const key of ['lostAfterMs', 'stopAfterDisconnectMs'] as const) {
    const ms = loss?.[key] ?? 0;
    const isOff = key === 'stopAfterDisconnectMs' && ms === 0;
    if (loss?.[key] === undefined || isOff || ms >= lossMinMs) continue;
    refuseAt(`${path}.${key}`)(`${ms} ms is less than ${lossMinMs} ms: a short pause of a machine is no loss`);
  }
}

function checkTask(task: TaskSpec, path: string): void {
  checkContainers(task.containers, `${path}.containers`);
  if (!['', 'crun', 'runc'].includes(task.runtime))
    refuseAt(`${path}.runtime`)(`"${task.runtime}" is neither crun nor runc`);
  checkResources(task, path);
  checkRestart(task.restart, `${path}.restart`);
  for (const text of task.placement.constraints) {
    const constraint = parseConstraint(text);
    if ('problem' in constraint) refuseAt(`${path}.placement.constraints`)(`"${text}": ${constraint.problem}`);
  }
  for (const key of task.placement.spread) {
    const wrong = findKeyProblem(key);
    if (wrong !== undefined) refuseAt(`${path}.placement.spread`)(`"${key}": ${wrong}`);
  }
  const twice = findDuplicate(task.networks.map(({ network }) => network));
  if (twice !== undefined) refuseAt(`${path}.networks`)(`network "${twice}" is named twice`);
}

function checkRestart({ delayMs, delayMaxMs }: RestartPolicy, path: string): void {
  if (delayMs !== undefined && delayMaxMs !== undefined && delayMs > delayMaxMs) {
    refuseAt(`${path}.delayMs`)(`${delayMs} ms is above the longest delay, ${delayMaxMs} ms`);
  }
}

function checkPorts(spec: ServiceSpec, path: string): void {
  for (const [at, port] of spec.ports.entries()) checkPort(port, `${path}.ports[${at}]`);
  const published = spec.ports.filter(port => port.published !== 0).map(portKey);
  const twice = findDuplicate(published);
  if (twice !== undefined) refuseAt(`${path}.ports`)(`port ${twice} is published twice`, 'port-conflict');
  if (spec.endpointMode === 'dnsrr' && spec.ports.some(port => port.mode !== 'host')) {
    refuseAt(`${path}.endpointMode`)(
      'dnsrr has no virtual address to publish a port on; use mode=host for the port, or vip',
    );
  }
}

function checkPort({ published, target }: PortSpec, path: string): void {
  if (target < 1 || target > 65_535) refuseAt(`${path}.target`)(`${target} is not within 1 and 65535`);
  if (published > 65_535) refuseAt(`${path}.published`)(`${published} is not within 1 and 65535`);
}

export function checkNetworkSpec(spec: NetworkSpec, path: string): void {
  checkName(spec.name, `${path}.name`);
  if (spec.stack !== '') checkName(spec.stack, `${path}.stack`);
  checkLabels(spec.labels, `${path}.labels`);
  if (spec.driver !== 'overlay' && spec.subnets.length > 0)
    refuseAt(`${path}.subnets`)(`the driver ${spec.driver} has no addresses`);
  for (const text of spec.subnets) {
    const prefix = parsePrefix(text);
    const refuse = refuseAt(`${path}.subnets`);
    if (prefix === undefined) refuse(`"${text}" is no IPv4 prefix, such as 10.20.0.0/20, with zeros after its length`);
    else if (prefix.bits < 8 || prefix.bits > 29) refuse(`"${text}" is not between /8 and /29`);
  }
}
