/**
 * Whether the containers of a task make sense, field by field. What only the node can know (the image, users, sources of
 * mounts) is not judged here.
 *
 * Called by validate.ts. Not here: the rest of a service (validate.ts), translation to the runtime (tasks/runtime).
 */
import { posix } from 'node:path';
import type { ContainerSpec, FileReference, Healthcheck, Mount } from '../../gen/types.js';
import { parseReference } from '../../tasks/image/reference.js';
import { parseDevice, parseDeviceRule, parseSecurityOptions } from '../../tasks/spec/security.js';
import { checkLabels, checkName, findDuplicate, refuseAt } from './check.js';
import { checkLifecycle, checkMountSource, checkProbe } from './lifecycle.js';

const containersMax = 16;
const propagations = ['', 'rprivate', 'private', 'rshared', 'shared', 'rslave', 'slave'];
const volumeForm = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/;
const signalForm = /^(?:SIG[A-Z][A-Z0-9]{1,7}(?:[+-][0-9]{1,2})?|[A-Z][A-Z0-9]{1,7}(?:[+-][0-9]{1,2})?|[1-9][0-9]?)$/;
const sysctlForm = /^(?:net\.[a-zA-Z0-9_./-]+|kernel\.(?:shm[a-z_]+|msg[a-z_]+|sem)|fs\.mqueue\.[a-z_]+)$/;

export function checkContainers(containers: readonly ContainerSpec[], path: string): void {
  const refuse = refuseAt(path);
  if (containers.length === 0) refuse('a task has at least one container');
  if (containers.length > containersMax) refuse(`a task has at most ${containersMax} containers`);
  const twice = findDuplicate(containers.map(({ name }) => name));
  if (twice !== undefined) refuse(`two containers are called "${twice}"`);
  for (const [at, container] of containers.entries()) {
    const place = `${path}[${at}]`;
    if (at > 0 || container.name !== '') checkName(container.name, `${place}.name`);
    checkContainer(container, place);
    checkLifecycle(container, place, at);
  }
}

function checkContainer(container: ContainerSpec, path: string): void {
  if (container.image === '') refuseAt(`${path}.image`)('an image is missing', 'image-bad-name');
  parseReference(container.image);
  checkLabels(container.labels, `${path}.labels`);
  for (const text of container.env) {
    if (!/^[^=\0]+=[^\0]*$/.test(text)) refuseAt(`${path}.env`)(`"${text}" is not of the form NAME=value`);
  }
  for (const text of [...container.entrypoint, ...container.command]) {
    if (text.includes('\0')) refuseAt(`${path}.command`)('an argument has a zero byte in it');
  }
  if (container.workingDir !== '') checkPath(container.workingDir, `${path}.workingDir`);
  if (container.hostname !== '' && !/^[a-zA-Z0-9](?:[a-zA-Z0-9.-]{0,61}[a-zA-Z0-9])?$/.test(container.hostname)) {
    refuseAt(`${path}.hostname`)(`"${container.hostname}" is no host name`);
  }
  if (!['', 'missing', 'always', 'never'].includes(container.pullPolicy)) {
    refuseAt(`${path}.pullPolicy`)(`"${container.pullPolicy}" is no pull policy: missing, always, never are`);
  }
  if (container.stopSignal !== '' && !signalForm.test(container.stopSignal)) {
    refuseAt(`${path}.stopSignal`)(`"${container.stopSignal}" is no signal, such as SIGTERM or 15`);
  }
  checkFiles(container, path);
  checkLog(container, path);
  checkKernelParts(container, path);
  checkNames(container, path);
  checkIsolation(container, path);
  if (container.healthcheck !== undefined) checkHealth(container.healthcheck, `${path}.healthcheck`);
}

function checkPath(text: string, path: string): void {
  if (!posix.isAbsolute(text)) refuseAt(path)(`"${text}" is no absolute path`);
  if (text.split('/').includes('..') || text.includes('\0')) refuseAt(path)(`"${text}" leads out by ".."`);
}

function checkFiles(container: ContainerSpec, path: string): void {
  for (const [at, mount] of container.mounts.entries()) checkMount(mount, `${path}.mounts[${at}]`);
  for (const [at, file] of container.secrets.entries()) checkFile(file, `${path}.secrets[${at}]`);
  for (const [at, file] of container.configs.entries()) checkFile(file, `${path}.configs[${at}]`);
  const targets = [
    ...container.mounts.map(({ target }) => target),
    ...container.secrets.map(({ target, source }) => posix.resolve('/run/secrets', target === '' ? source : target)),
    ...container.configs.map(({ target, source }) => posix.resolve('/', target === '' ? source : target)),
  ].map(target => posix.normalize(target).replace(/(.)\/$/, '$1'));
  const twice = findDuplicate(targets);
  if (twice !== undefined) refuseAt(`${path}.mounts`)(`two of mounts, secrets and configs have the target "${twice}"`);
}

function checkMount(mount: Mount, path: string): void {
  checkPath(mount.target, `${path}.target`);
  if (posix.normalize(mount.target) === '/') refuseAt(`${path}.target`)('"/" is the root file system of the image');
  if (mount.kind === 'bind') checkPath(mount.source, `${path}.source`);
  if (mount.kind === 'volume' && mount.source !== '' && !volumeForm.test(mount.source)) {
    refuseAt(`${path}.source`)(`"${mount.source}" is no name of a volume`);
  }
  checkMountSource(mount, path);
  if (!['', 'shared', 'private'].includes(mount.relabel))
    refuseAt(`${path}.relabel`)(`"${mount.relabel}" is neither "shared" nor "private"`);
  if (mount.relabel !== '' && mount.kind !== 'bind' && mount.kind !== 'volume')
    refuseAt(`${path}.relabel`)('only binds and volumes have labels');
  if (mount.kind === 'tmpfs' && mount.source !== '') refuseAt(`${path}.source`)('a tmpfs has no source');
  if (!propagations.includes(mount.propagation)) {
    refuseAt(`${path}.propagation`)(`"${mount.propagation}" is none of ${propagations.filter(Boolean).join(', ')}`);
  }
}

function checkFile(file: FileReference, path: string): void {
  if (file.source === '') refuseAt(`${path}.source`)('a name is missing');
  if (file.target.split('/').includes('..')) refuseAt(`${path}.target`)(`"${file.target}" leads out by ".."`);
  if (file.mode !== undefined && file.mode > 0o7777)
    refuseAt(`${path}.mode`)(`${file.mode.toString(8)} is no file mode`);
}

function checkLog({ log }: ContainerSpec, path: string): void {
  if (log === undefined) return;
  if (log.filesMax > 100) refuseAt(`${path}.log`)(`${log.filesMax} files are more than 100`);
  if (log.sizeMaxBytes > 0 && log.sizeMaxBytes < 1_024) {
    refuseAt(`${path}.log`)(`${log.sizeMaxBytes} bytes are too few for a file; 1024 is the least`);
  }
}

function checkKernelParts(container: ContainerSpec, path: string): void {
  for (const name of Object.keys(container.sysctls)) {
    if (!sysctlForm.test(name)) {
      refuseAt(`${path}.sysctls`)(
        `"${name}" does not belong to a container; net.*, kernel.shm*, kernel.msg*, kernel.sem and fs.mqueue.* do`,
      );
    }
  }
  for (const name of [...container.capAdd, ...container.capDrop]) {
    if (!/^(?:CAP_)?[A-Z][A-Z_]*$/i.test(name)) refuseAt(`${path}.capAdd`)(`"${name}" is no capability`);
  }
  for (const { name, soft, hard } of container.ulimits) {
    if (!/^[a-z]+$/.test(name)) refuseAt(`${path}.ulimits`)(`"${name}" is no limit, such as nofile`);
    if (hard !== -1 && (soft === -1 || soft > hard)) {
      refuseAt(`${path}.ulimits`)(`the soft limit of ${name}, ${soft}, is above the hard one, ${hard}`);
    }
  }
  const { oomScoreAdj } = container;
  if (oomScoreAdj !== undefined && Math.abs(oomScoreAdj) > 1_000) {
    refuseAt(`${path}.oomScoreAdj`)(`${oomScoreAdj} is not within -1000 and 1000`);
  }
}

function checkIsolation(container: ContainerSpec, path: string): void {
  const options = parseSecurityOptions(container.securityOpt);
  if (options.kind === 'bad') refuseAt(`${path}.securityOpt`)(`${options.valid} is valid`);
  for (const text of container.devices) {
    const device = parseDevice(text);
    if (device.kind === 'bad') refuseAt(`${path}.devices`)(`"${text}" is no device: ${device.valid}`);
  }
  for (const text of container.deviceCgroupRules) {
    const rule = parseDeviceRule(text);
    if (rule.kind === 'bad') refuseAt(`${path}.deviceCgroupRules`)(`"${text}" is no rule for devices: ${rule.valid}`);
  }
  if (!['', 'auto', 'host'].includes(container.userns)) {
    refuseAt(`${path}.userns`)(`"${container.userns}" is neither auto nor host`);
  }
  if (container.privileged && container.userns === 'auto') {
    refuseAt(`${path}.userns`)('a privileged container has no user namespace of its own');
  }
}

function checkNames(container: ContainerSpec, path: string): void {
  for (const text of container.extraHosts) {
    if (!/^[^:\s]+:[0-9a-fA-F.:]+$/.test(text))
      refuseAt(`${path}.extraHosts`)(`"${text}" is not of the form host:address`);
  }
  for (const text of container.dns) {
    if (!/^(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9a-fA-F:]*:[0-9a-fA-F:.]*)$/.test(text)) {
      refuseAt(`${path}.dns`)(`"${text}" is no address`);
    }
  }
}

function checkHealth({ test, probe }: Healthcheck, path: string): void {
  const [kind, ...rest] = test;
  if (probe !== undefined) {
    if (kind !== undefined) refuseAt(path)('a health check has a test or a probe, not both');
    checkProbe(probe.ask, `${path}.probe`);
  }
  if (kind === undefined || (kind === 'NONE' && rest.length === 0)) return;
  if ((kind === 'CMD' && rest.length > 0) || (kind === 'CMD-SHELL' && rest.length === 1)) return;
  refuseAt(`${path}.test`)('a test is ["NONE"], ["CMD", program, …] or ["CMD-SHELL", text]');
}
