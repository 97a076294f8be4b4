/**
 * Whether checks, hooks and the roles of a task's containers make sense, and what is special about mounts.
 *
 * Called by containers.ts. Not here: other fields of a container.
 */
import { posix } from 'node:path';
import type { ContainerSpec, HealthProbe, Hook, Mount, ReadyCheck } from '../../gen/types.js';
import { parseReference } from '../../tasks/image/reference.js';
import { checkLabels, refuseAt } from './check.js';

const sharedForm = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$/;
const localOptions = ['type', 'device', 'o'];

export function checkLifecycle(container: ContainerSpec, path: string, at: number): void {
  if (at === 0 && container.role !== 'main') refuseAt(`${path}.role`)('the first container is the main one');
  if (at > 0 && container.role === 'main') refuseAt(`${path}.role`)('only the first container is the main one');
  if (container.readyCheck !== undefined) checkReady(container, container.readyCheck, `${path}.readyCheck`);
  for (const [index, hook] of container.postStart.entries()) checkHook(hook, `${path}.postStart[${index}]`);
  for (const [index, hook] of container.preStop.entries()) checkHook(hook, `${path}.preStop[${index}]`);
}

function checkReady({ role }: ContainerSpec, { probe }: ReadyCheck, path: string): void {
  if (role === 'init') refuseAt(path)('an init container takes no work: it has no ready check');
  if (probe.kind === 'exec') {
    const [form, ...rest] = probe.test;
    const isRight = (form === 'CMD' && rest.length > 0) || (form === 'CMD-SHELL' && rest.length === 1);
    if (!isRight) refuseAt(path)('a test is ["CMD", program, …] or ["CMD-SHELL", text]');
    return;
  }
  checkProbe(probe, path);
}

/** One over the network, of a ready check or a health check. */
export function checkProbe(probe: HealthProbe['ask'], path: string): void {
  if (probe.port < 1 || probe.port > 65_535) refuseAt(`${path}.port`)(`${probe.port} is not within 1 and 65535`);
  if (probe.kind !== 'http') return;
  if (!['', 'http', 'https'].includes(probe.scheme))
    refuseAt(`${path}.scheme`)(`"${probe.scheme}" is not http or https`);
  if (!/^(?:\/[^\s\0]*)?$/.test(probe.path)) refuseAt(`${path}.path`)(`"${probe.path}" does not begin with "/"`);
  for (const [name, value] of Object.entries(probe.headers)) {
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name) || /[\r\n\0]/.test(value))
      refuseAt(`${path}.headers`)(`"${name}" is no header`);
  }
}

function checkHook({ command, env, workingDir }: Hook, path: string): void {
  if (command.length === 0 || command.some(text => text.includes('\0')))
    refuseAt(`${path}.command`)('a program is missing');
  if (env.some(text => !/^[^=\0]+=[^\0]*$/.test(text))) refuseAt(`${path}.env`)('a variable is of the form NAME=value');
  if (workingDir !== '' && !posix.isAbsolute(workingDir))
    refuseAt(`${path}.workingDir`)(`"${workingDir}" is no absolute path`);
}

/** Images, shared directories, parts of volumes, and options for volumes. */
export function checkMountSource(mount: Mount, path: string): void {
  const { kind, source, subpath } = mount;
  if (kind === 'image') parseReference(source);
  if (kind === 'shared' && !sharedForm.test(source))
    refuseAt(`${path}.source`)(`"${source}" is no name of a shared directory`);
  if (subpath !== '' && kind !== 'volume' && kind !== 'image')
    refuseAt(`${path}.subpath`)('only volumes and images have a subpath');
  if (subpath.startsWith('/') || subpath.split('/').includes('..') || subpath.includes('\0'))
    refuseAt(`${path}.subpath`)(`"${subpath}" is no relative path without ".."`);
  checkVolumeOptions(mount, path);
}

function checkVolumeOptions({ kind, source, volumeOptions, volumeLabels }: Mount, path: string): void {
  checkLabels(volumeLabels, `${path}.volumeLabels`);
  const names = Object.keys(volumeOptions);
  if (names.length === 0) return;
  const refuse = refuseAt(`${path}.volumeOptions`);
  if (kind !== 'volume' || source === '') refuse('only a named volume has options');
  const unknown = names.find(name => !localOptions.includes(name));
  if (unknown !== undefined) refuse(`"${unknown}" is none of ${localOptions.join(', ')}`);
}
