/**
 * Errors as people see them, and the exit code of each.
 *
 *     error: Cannot start web.3: No free address on network "frontend"
 *       state  10.20.4.0/24: 254 of 254 addresses in use
 *       try    covey network create --subnet 10.20.5.0/24 frontend2
 *       code   subnet-exhausted   (covey explain subnet-exhausted)
 *
 * Not here: the paragraphs of the codes (error-codes.ts).
 */

import { isErrorCode } from '../../error-codes.js';
import { codeOf, deepest, type ErrorCode, messageOf } from '../../errors.js';
import { paint } from './colours.js';
import { visibleText, wrapWords } from './text.js';

export const exitCodes = {
  done: 0,
  failed: 1,
  usage: 2,
  notInTime: 3,
  notFound: 4,
  refused: 5,
  noConnection: 6,
  /** Of covey itself, where other codes belong to the program that was run. */
  execFailed: 125,
  execNotExecutable: 126,
  execNotFound: 127,
  interrupted: 130,
  brokenPipe: 141,
} as const;

const codesByExit: readonly (readonly [exit: number, codes: readonly ErrorCode[]])[] = [
  [
    exitCodes.usage,
    [
      'unknown-command',
      'bad-argument',
      'bad-config',
      'ambiguous',
      'image-bad-name',
      'stack-syntax',
      'stack-unknown-key',
      'stack-not-honoured',
      'stack-type',
      'stack-variable',
      'stack-reference',
      'stack-file',
      'bad-bundle',
    ],
  ],
  [exitCodes.notInTime, ['timeout']],
  [exitCodes.notFound, ['not-found', 'network-not-found', 'secret-not-found', 'config-not-found', 'image-not-found']],
  [
    exitCodes.refused,
    [
      'already-exists',
      'stale-version',
      'daemon-running',
      'port-in-use',
      'already-in-cluster',
      'not-in-cluster',
      'not-manager',
      'no-leader',
      'last-manager',
      'would-lose-quorum',
      'quorum-alive',
      'locked',
      'unlock-key-wrong',
      'not-autolocked',
      'group-superseded',
      'token-expired',
      'token-used-up',
      'name-in-use',
      'node-removed',
      'node-not-lost',
      'service-in-use',
      'network-in-use',
      'subnet-conflict',
      'subnet-exhausted',
      'port-conflict',
      'ports-exhausted',
      'plan-changed',
      'illegal-transition',
      'task-not-running',
      'task-ended',
      'task-stopping',
      'task-paused',
      'task-not-paused',
      'command-stale',
      'image-in-use',
      'registry-blocked',
      'registry-denied',
      'volume-in-use',
      'too-many',
      'stale-read',
    ],
  ],
  [
    exitCodes.noConnection,
    [
      'no-daemon',
      'no-socket-rights',
      'no-connection',
      'unresolvable',
      'not-leader',
      'node-unreachable',
      'not-covey',
      'wrong-ca',
      'registry-unreachable',
      'registry-unknown',
      'registry-tls',
    ],
  ],
];

export function exitCodeOf(error: unknown): number {
  const code = codeOf(error);
  return codesByExit.find(([, codes]) => codes.includes(code))?.[0] ?? exitCodes.failed;
}

export interface RenderErrorOptions {
  readonly colours: boolean;
  readonly isTerminal: boolean;
  readonly columns: number;
}

/** Ends with a line feed. */
export function renderError(error: unknown, options: RenderErrorOptions): string {
  const code = codeOf(error);
  const rows: (readonly [string, string | undefined])[] = [
    ['state', deepest(error, 'state')],
    ['try', deepest(error, 'hint')],
    ['code', isErrorCode(code) ? `${code}   (covey explain ${code})` : code],
  ];
  const head = paint('error:', options.colours ? 'red' : undefined);
  const lines = [`${head} ${visibleText(messageOf(error))}`];
  for (const [label, text] of rows) {
    if (text === undefined || text === '') continue;
    const wrapped = wrapWords(
      visibleText(text),
      options.isTerminal ? Math.max(40, options.columns - 9) : Number.POSITIVE_INFINITY,
    );
    for (const [at, line] of wrapped.entries()) lines.push(`  ${(at === 0 ? label : '').padEnd(5)}  ${line}`);
  }
  return `${lines.join('\n')}\n`;
}
