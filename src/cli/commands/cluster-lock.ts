/**
 * `covey unlock` and `covey unlock-key`: managers whose state on disk opens with a key that people hold.
 *
 * Not here: turning that on (cluster-settings.ts), what is locked, and how (daemon/keys).
 */
import { CoveyError } from '../../errors.js';
import type { UnlockKeyAnswer } from '../../gen/types.js';
import { ask } from '../ask.js';
import type { CliContext } from '../context.js';
import { type CommandDefinition, type Invocation, waitOptions } from '../definition.js';
import type { Flags } from '../flags.js';
import { exitCodes } from '../output/errors.js';
import { openLive } from '../output/live.js';
import { plural, renderAge, renderDuration } from '../output/values.js';

export const clusterLockCommands: readonly CommandDefinition[] = [
  {
    path: ['unlock'],
    says: 'Unlock this manager after a start',
    about:
      'The key is asked for unseen; without a terminal it is read from standard input. Waits until this manager takes part again, or says what that still needs.',
    args: [],
    options: [],
    examples: [
      { says: 'asks for the key', line: 'sudo covey unlock' },
      { says: 'from a vault', line: 'vault kv get -field=key covey/unlock | sudo covey unlock' },
    ],
    run: runUnlock,
  },
  {
    path: ['unlock-key'],
    says: 'Show the unlock key of the cluster, or replace it',
    about:
      'A manager that is away while the key is replaced opens with the one before until it has been back; both are shown then.',
    args: [],
    options: [
      { flags: '--rotate', says: 'Make a new one' },
      { flags: '-q, --quiet', says: 'Print only the key' },
      ...waitOptions,
    ],
    examples: [
      { says: 'show it', line: 'covey unlock-key' },
      { says: 'another one, somebody has seen it', line: 'covey unlock-key --rotate' },
    ],
    run: runUnlockKey,
  },
];

const lookEveryMs = 200;
/** A manager takes a new key in milliseconds, one that is away does not at all: then there is more to say than to wait for. */
const waitMs = 20_000;
const inputMax = 4_096;

async function runUnlock(_invocation: Invocation, context: CliContext): Promise<number> {
  const { local } = await context.connect();
  const { lock } = await local.info({}, { signal: context.signal });
  if (lock === undefined) {
    await context.print('This machine is not locked.');
    return exitCodes.done;
  }
  const key = await readKey(context);
  const { waits, wasOpen } = await local.unlock({ key }, { signal: context.signal });
  if (wasOpen) await context.print('This machine is not locked.');
  else if (waits === '') await context.print('Unlocked: this manager takes part again.');
  else await context.print(`Unlocked. It takes part as soon as enough managers are there: ${waits}.`);
  return exitCodes.done;
}

async function readKey(context: CliContext): Promise<string> {
  const { stdin } = context.console;
  if (stdin.isTerminal) return await ask(context, 'Unlock key: ', { isSecret: true, what: 'unlock' });
  let text = '';
  for await (const chunk of stdin.read()) {
    text += new TextDecoder().decode(chunk);
    if (text.length > inputMax)
      throw new CoveyError(
        'bad-argument',
        `Cannot read a key from standard input: it is longer than ${inputMax} characters`,
      );
  }
  if (text.trim() !== '') return text.trim();
  throw new CoveyError('bad-argument', 'Cannot unlock: standard input holds no key', {
    hint: 'covey unlock < FILE, or on a terminal',
  });
}

async function runUnlockKey({ flags }: Invocation, context: CliContext): Promise<number> {
  const { control } = await context.connect();
  if (!flags.isOn('rotate')) return await showKey(context, flags, 'The unlock key of this cluster:', false);
  await control.updateCluster({ rotateUnlockKey: true }, { signal: context.signal });
  return await showKey(context, flags, 'Managers need this key from now on when they start:');
}

/** The key first: whatever comes between, it is known. Then the managers that have it, as far as they are there. */
export async function showKey(context: CliContext, flags: Flags, title: string, mayWait = true): Promise<number> {
  const { control } = await context.connect();
  const look = (): Promise<UnlockKeyAnswer> => control.getUnlockKey({}, { signal: context.signal });
  const first = await look();
  const isQuiet = flags.isOn('quiet');
  if (first.key === '') {
    await context.print('Autolock is off.');
  } else if (isQuiet) {
    await context.print(first.key);
  } else {
    const age = renderAge(context.console.clock.wallMs() - first.madeAtMs);
    const made = mayWait ? '' : `  (id ${first.keyId}, made ${age} ago)`;
    await context.print(`${title}\n\n  ${first.key}${made}\n`);
    if (mayWait) await context.print('Keep it in a safe place: without it a manager that was stopped cannot go on.');
  }
  const last = mayWait && !flags.isOn('detach') ? await untilTaken(context, flags, look) : first;
  if (!isQuiet) for (const line of renderBehind(last)) await context.print(line);
  return exitCodes.done;
}

/** Until all managers that are there have taken it. */
async function untilTaken(
  context: CliContext,
  flags: Flags,
  look: () => Promise<UnlockKeyAnswer>,
): Promise<UnlockKeyAnswer> {
  const { clock, stderr } = context.console;
  const timeoutMs = flags.durationMs('timeout');
  const endMs = clock.monotonicMs() + (timeoutMs ?? waitMs);
  const live = context.isInteractive && !flags.isOn('quiet') ? openLive(stderr, clock) : undefined;
  try {
    for (;;) {
      const answer = await look();
      const late = answer.behind.filter(({ state }) => state === 'ready').map(({ name }) => name);
      if (late.length === 0) return answer;
      if (clock.monotonicMs() > endMs) {
        if (timeoutMs === undefined) return answer;
        throw new CoveyError('timeout', `Cannot see all managers take the key within ${renderDuration(timeoutMs)}`, {
          state: `waits for ${late.join(', ')}; the key counts all the same`,
          hint: 'covey unlock-key shows who has not taken it',
        });
      }
      live?.show([`waits for ${late.join(', ')} to take it`]);
      await clock.sleep(lookEveryMs, context.signal);
    }
  } finally {
    await live?.end([]);
  }
}

function renderBehind({ behind }: UnlockKeyAnswer): readonly string[] {
  if (behind.length === 0) return [];
  return [
    `${plural(behind.length, 'manager')} ${behind.length === 1 ? 'has' : 'have'} not taken it yet, and until then start${behind.length === 1 ? 's' : ''} otherwise:`,
    ...behind.map(({ name, state, key, keyId }) => {
      const how =
        keyId === ''
          ? 'without a key'
          : key === ''
            ? `with a key that is not known any more (id ${keyId})`
            : `with ${key}`;
      return `  ${name} (${state})  ${how}`;
    }),
  ];
}
