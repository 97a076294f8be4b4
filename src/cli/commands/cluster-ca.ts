/**
 * `covey cluster ca show` and `covey cluster ca rotate`: the root certificate, shown and replaced. As `docker swarm ca` does it: the
 * waiting shows how many nodes have a certificate of the new root, and who is missing.
 *
 * Not here: how it goes (daemon/ca/rotation.ts).
 */
import { CoveyError } from '../../errors.js';
import type { RootStatus } from '../../gen/types.js';
import type { CliContext } from '../context.js';
import { type CommandDefinition, type Invocation, waitOptions } from '../definition.js';
import type { Flags } from '../flags.js';
import { exitCodes } from '../output/errors.js';
import { openLive } from '../output/live.js';
import { plural, renderDuration } from '../output/values.js';

export const clusterCaCommands: readonly CommandDefinition[] = [
  {
    path: ['cluster', 'ca', 'show'],
    says: 'Print the root certificate of the cluster',
    args: [],
    options: [],
    examples: [
      { says: 'as PEM', line: 'covey cluster ca show' },
      { says: 'into a file, for another program', line: 'covey cluster ca show > root.pem' },
    ],
    run: runShow,
  },
  {
    path: ['cluster', 'ca', 'rotate'],
    says: 'Replace the root certificate, and with it those of all nodes',
    about:
      'Everything runs on. The old root is trusted until every node has a certificate of the new one; join tokens made before are refused from then on. A node that is away is waited for: bring it back, remove it (covey node rm), or end the replacement without it (--force); then it comes back by "covey token node". When one is under way already, the command waits for that.',
    args: [],
    options: [
      { flags: '--ca-cert <file>', says: 'Root certificate made elsewhere (PEM, ECDSA on P-256); needs --ca-key' },
      { flags: '--ca-key <file>', says: 'Its key (PEM, no password)' },
      { flags: '--cert-expiry <duration>', says: 'Life of the certificates of nodes from now on (days)' },
      { flags: '-f, --force', says: 'Do not wait for nodes that are away' },
      { flags: '-q, --quiet', says: 'Show no progress' },
      ...waitOptions,
    ],
    examples: [
      { says: 'a new root', line: 'covey cluster ca rotate' },
      { says: 'one of your own', line: 'covey cluster ca rotate --ca-cert root.pem --ca-key root.key' },
      { says: 'end it without the node that is away', line: 'covey cluster ca rotate --force' },
    ],
    run: runRotate,
  },
];

/** Nodes named in one line. */
const namedMax = 5;
const lookEveryMs = 300;
const dayMs = 86_400_000;

async function runShow(_invocation: Invocation, context: CliContext): Promise<number> {
  const { control } = await context.connect();
  const status = await control.getRootStatus({}, { signal: context.signal });
  await context.print(renderPem(status.certificate));
  if (status.rotating) await context.note(`It is being replaced: ${describeRotation(status)}`);
  return exitCodes.done;
}

function renderPem(certificate: Uint8Array): string {
  const lines =
    Buffer.from(certificate)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----'].join('\n');
}

async function runRotate({ flags }: Invocation, context: CliContext): Promise<number> {
  const { control } = await context.connect();
  const expiryMs = flags.durationMs('cert-expiry');
  const status = await control.rotateRoot(
    {
      ...givenRoot(flags, context),
      certificateDays: expiryMs === undefined ? undefined : Math.max(1, Math.round(expiryMs / dayMs)),
      withoutAbsent: flags.isOn('force'),
    },
    { signal: context.signal },
  );
  if (flags.isOn('detach')) return exitCodes.done;
  return await waitForRotation(context, flags, status);
}

function givenRoot(flags: Flags, context: CliContext): { readonly certificate: string; readonly key: string } {
  const [certificate, key] = [flags.text('ca-cert'), flags.text('ca-key')];
  if (certificate === undefined && key === undefined) return { certificate: '', key: '' };
  if (certificate === undefined || key === undefined) {
    throw new CoveyError('bad-argument', 'Cannot replace the root with half of one', {
      hint: 'give both --ca-cert and --ca-key',
    });
  }
  return { certificate: readPem(context, certificate), key: readPem(context, key) };
}

function readPem({ console }: CliContext, path: string): string {
  const bytes = console.findFile(path);
  if (bytes === undefined) throw new CoveyError('not-found', `Cannot read "${path}": there is no such file`);
  return new TextDecoder().decode(bytes);
}

/** "3 of 4 nodes have a certificate of the new root; waits for rack3 (lost)". */
function describeRotation({ nodesTotal, nodesDone, missing }: RootStatus): string {
  const counted = `${nodesDone} of ${plural(nodesTotal, 'node')} have a certificate of the new root`;
  if (missing.length === 0) return counted;
  const named = missing.slice(0, namedMax).map(({ name, state }) => (state === 'ready' ? name : `${name} (${state})`));
  const others = missing.length > namedMax ? ` and ${missing.length - namedMax} more` : '';
  return `${counted}; waits for ${named.join(', ')}${others}`;
}

async function waitForRotation(context: CliContext, flags: Flags, first: RootStatus): Promise<number> {
  const { clock, stdout } = context.console;
  const isShown = !flags.isOn('quiet');
  const live = context.isInteractive && isShown ? openLive(stdout, clock) : undefined;
  const timeoutMs = flags.durationMs('timeout');
  const endMs = timeoutMs === undefined ? undefined : clock.monotonicMs() + timeoutMs;
  const { control } = await context.connect();
  let status = first;
  let told = '';
  try {
    while (status.rotating) {
      const text = describeRotation(status);
      live?.show([text]);
      if (live === undefined && isShown && text !== told) await context.note(text);
      told = text;
      if (endMs !== undefined && clock.monotonicMs() > endMs) throw late(status, timeoutMs ?? 0);
      await clock.sleep(lookEveryMs, context.signal);
      status = await control.getRootStatus({}, { signal: context.signal });
    }
  } catch (error) {
    await live?.end();
    if (!context.signal.aborted) throw error;
    await context.note('The replacement goes on: covey cluster ca show');
    return exitCodes.interrupted;
  }
  await live?.end([]);
  await context.print(renderPem(status.certificate));
  return exitCodes.done;
}

function late(status: RootStatus, timeoutMs: number): CoveyError {
  return new CoveyError('timeout', `Cannot see the root replaced within ${renderDuration(timeoutMs)}`, {
    state: describeRotation(status),
    hint: 'bring who is missing back, covey node rm NODE, or covey cluster ca rotate --force',
  });
}
