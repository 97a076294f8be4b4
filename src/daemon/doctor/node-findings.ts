/**
 * What doctor says of this machine as a node: whether managers answer, and if not since when and at which addresses; how long
 * its certificate is good; what runs. Pure; answers everywhere, also with all managers dead.
 *
 * Called by node.ts, which gathers the facts. Not here: the host (findings.ts).
 */
import type { ErrorCode } from '../../errors.js';
import { messageOf } from '../../errors.js';
import type { Finding, NodeRole, Task } from '../../gen/types.js';
import type { Unreached } from '../session/reach.js';
import type { SessionState } from '../session/types.js';

export interface NodeFacts {
  readonly nowMs: number;
  readonly role: NodeRole;
  readonly session: SessionState;
  readonly unreached: readonly Unreached[];
  /** Of a manager: who of its group answers, when nobody leads; undefined while somebody does. */
  readonly leaderless: string | undefined;
  readonly certificate: { readonly validFromMs: number; readonly validUntilMs: number };
  readonly tasks: readonly Task[];
}

/** Renewal begins at the latest at this part of a certificate's life, so later something is in its way. */
const renewedBy = 0.85;

export function judgeNode(facts: NodeFacts): readonly Finding[] {
  return [...judgeManagers(facts), judgeCertificate(facts), judgeTasks(facts.tasks)];
}

function finding(level: Finding['level'], code: ErrorCode | '', message: string, hint = ''): Finding {
  return { level, code, message, hint };
}

function judgeManagers({ nowMs, session, unreached, leaderless }: NodeFacts): readonly Finding[] {
  const each = unreached.map(({ address, sinceMs, problem }) =>
    finding(
      'warn',
      'managers-unreachable',
      `no answer from the manager at ${address} since ${ageText(nowMs - sinceMs)}: ${messageOf(problem)}`,
      `try from here: nc -vz ${address.replace(/:(\d+)$/u, ' $1')}`,
    ),
  );
  if (leaderless !== undefined) {
    const message = `no manager leads: ${leaderless}; tasks go on, changes are refused`;
    return [finding('fail', 'no-leader', message, 'bring a majority of the managers back'), ...each];
  }
  if (session.kind === 'connected') return [finding('ok', '', 'a manager answers'), ...each];
  const since = session.isLost
    ? `for ${ageText(nowMs - session.sinceMs)}`
    : `since this daemon started ${ageText(nowMs - session.sinceMs)} ago`;
  const why = session.problem === undefined ? '' : ` (${messageOf(session.problem)})`;
  const message = `no manager has answered ${since}${why}; tasks go on and are started again here by their own policy`;
  return [finding('fail', 'managers-unreachable', message, 'covey task ls --local shows what runs here'), ...each];
}

function judgeCertificate({ nowMs, certificate: { validFromMs, validUntilMs } }: NodeFacts): Finding {
  const until = new Date(validUntilMs).toISOString().slice(0, 16).replace('T', ' ');
  const leftMs = validUntilMs - nowMs;
  if (leftMs <= 0) {
    const message = `the certificate of this node ended ${ageText(-leftMs)} ago (${until} UTC)`;
    return finding('fail', 'certificate-due', message, 'it is renewed when a manager answers');
  }
  const text = `the certificate of this node is good until ${until} UTC, for ${ageText(leftMs)}`;
  if (nowMs - validFromMs < renewedBy * (validUntilMs - validFromMs)) return finding('ok', '', text);
  return finding(
    'warn',
    'certificate-due',
    `${text}, and should have been renewed`,
    'it is renewed when a manager answers',
  );
}

function judgeTasks(tasks: readonly Task[]): Finding {
  const running = tasks.filter(({ status }) => status.state === 'running');
  const containers = running.reduce((sum, { spec }) => sum + spec.containers.length, 0);
  const alone = tasks.filter(({ status }) => status.attempt > 0).length;
  const note = alone === 0 ? '' : `; ${plural(alone, 'task')} started again by this node itself`;
  return finding(
    'ok',
    '',
    `${plural(running.length, 'task')} running here with ${plural(containers, 'container')}${note}`,
  );
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** "34 s", "5 min", "3 h", "12 days". */
function ageText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3_600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}
