/**
 * The containers of one task in their order: init containers one after the other, each to its end; then the sidecars; then
 * the main one. `planNext` looks at all of them and names what is to be done next, or what is waited for.
 *
 *   init 1 -> init 2 -> sidecar 1 -> sidecar 2 -> main        post-start hooks of each before the next
 *   main ends or is stopped -> sidecar 2 -> sidecar 1 -> over (stop-order.ts)
 *
 * A sidecar that ends while the task is wanted is started again in its place, or ends the task, by its `restart`.
 *
 * Pure. Not here: doing it (crew.ts), the task as a whole (task.ts).
 */
import type { ContainerRole, ContainerSpec, SidecarRestart } from '../gen/types.js';
import type { ContainerSeen, Failure } from './containers.js';

export interface Member {
  readonly name: string;
  readonly role: ContainerRole;
  readonly restart: SidecarRestart;
  readonly phase: ContainerSeen['phase'];
  readonly exitCode: number | undefined;
  /** Its post-start hooks are over, or it has none. */
  readonly settled: boolean;
  /** An ended sidecar may be started again from this time on. */
  readonly againAtMs: number;
}

export type NextStep =
  | { readonly kind: 'none' }
  | { readonly kind: 'start'; readonly index: number }
  /** Made anew in its place and started. */
  | { readonly kind: 'again'; readonly index: number }
  | { readonly kind: 'wait'; readonly because: string }
  | { readonly kind: 'fail'; readonly failure: Failure };

export function planNext(members: readonly Member[], nowMs: number): NextStep {
  const isStarted = members[0]?.phase === 'running';
  for (const [index, member] of ordered(members)) {
    const step = planMember(member, { index, nowMs, of: members });
    if (step === undefined) continue;
    // What runs already waits for nobody; it only gets its sidecars back.
    if (step.kind === 'wait' && isStarted && member.role !== 'main') continue;
    return step;
  }
  return { kind: 'none' };
}

function ordered(members: readonly Member[]): readonly (readonly [number, Member])[] {
  const entries = [...members.entries()];
  return (['init', 'sidecar', 'main'] as const).flatMap(role => entries.filter(([, member]) => member.role === role));
}

interface Around {
  readonly index: number;
  readonly nowMs: number;
  readonly of: readonly Member[];
}

/** undefined: nothing to do or to wait for. */
function planMember(member: Member, { index, nowMs, of }: Around): NextStep | undefined {
  if (member.phase === 'none') return undefined;
  if (member.phase === 'created') return { kind: 'start', index };
  if (member.role === 'init') return planInit(member, of);
  if (member.phase === 'running') {
    return member.settled ? undefined : { kind: 'wait', because: `post-start hook${ofMember(member)}` };
  }
  return member.role === 'main' ? undefined : planEnded(member, index, nowMs);
}

function planInit(member: Member, of: readonly Member[]): NextStep | undefined {
  const inits = of.filter(({ role }) => role === 'init');
  const place = inits.length === 1 ? '' : ` (${inits.indexOf(member) + 1} of ${inits.length})`;
  if (member.phase === 'running') return { kind: 'wait', because: `init container "${member.name}"${place}` };
  if (member.exitCode === 0) return undefined;
  const message = `Cannot start: init container "${member.name}" ended with exit code ${member.exitCode ?? 'unknown'}`;
  return { kind: 'fail', failure: { code: 'init-failed', message } };
}

function planEnded(member: Member, index: number, nowMs: number): NextStep | undefined {
  const { name, restart, exitCode, againAtMs } = member;
  if (restart === 'never') {
    const message = `Cannot go on: sidecar "${name}" ended with exit code ${exitCode ?? 'unknown'}`;
    return { kind: 'fail', failure: { code: 'sidecar-ended', message } };
  }
  if (restart === 'on-failure' && exitCode === 0) return undefined;
  if (nowMs >= againAtMs) return { kind: 'again', index };
  return { kind: 'wait', because: `sidecar "${name}" ended with exit code ${exitCode ?? 'unknown'}; starts again` };
}

function ofMember({ name, role }: Member): string {
  return role === 'main' ? '' : ` of ${role} "${name}"`;
}

/** Wait before a sidecar is started again: doubles with each short life, starts anew after a long one. */
export function planAgain(before: { readonly waitMs: number; readonly ranMs: number }): number {
  const isLong = before.waitMs === 0 || before.ranMs >= 10 * before.waitMs;
  return isLong ? againFirstMs : Math.min(againMaxMs, 2 * before.waitMs);
}

const againFirstMs = 1_000;
const againMaxMs = 60_000;

/** In which order the containers end: those of a group together, a group when the one before is over. */
export function planStopOrder(containers: readonly Pick<ContainerSpec, 'role'>[]): readonly (readonly number[])[] {
  const indexes = containers.map((_container, index) => index);
  const isSidecar = (index: number): boolean => index > 0 && containers[index]?.role === 'sidecar';
  const sidecars = indexes.filter(isSidecar).reverse();
  return [indexes.filter(index => !isSidecar(index)), ...sidecars.map(index => [index])];
}
