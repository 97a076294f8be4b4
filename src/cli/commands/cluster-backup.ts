/**
 * `covey cluster backup` and `restore`: everything a cluster is, in one file, and a cluster from such a file.
 *
 * Not here: the file (../backup-file.ts), what is in it and what follows (daemon/group/backup.ts, daemon/membership/restore.ts).
 */
import { createHash } from 'node:crypto';
import { posix } from 'node:path';
import { CoveyError } from '../../errors.js';
import type { BackupHead, BackupPiece, RecoverProgress, RestorePiece } from '../../gen/types.js';
import { ask } from '../ask.js';
import { type BackupFile, backupFileVersion, decodeBackup, encodeBackup } from '../backup-file.js';
import type { CliContext } from '../context.js';
import { type CommandDefinition, formatOption, type Invocation, type OptionDefinition } from '../definition.js';
import type { Flags } from '../flags.js';
import { exitCodes } from '../output/errors.js';
import { parseFormat } from '../output/format.js';
import { printRecords } from '../output/list.js';
import { plural, renderAge, renderBytes, renderTime } from '../output/values.js';
import { renderStep } from './cluster-recover.js';

const keyOptions: readonly OptionDefinition[] = [
  { flags: '--key-file <file>', says: 'Encrypted with what is in this file', completes: 'file' },
  { flags: '--passphrase', says: 'Encrypted with a passphrase, which is asked for' },
];

export const clusterBackupCommands: readonly CommandDefinition[] = [
  {
    path: ['cluster', 'backup'],
    says: 'Write everything that the cluster is into one file',
    about:
      'Services, networks, nodes, secrets, tokens and the key of the certificate authority, as of one moment, while the cluster goes on; on any manager. Not in it: images, volumes, logs. Keep it like a private key, or encrypt it; where managers are locked (autolock) it is encrypted with the unlock key unless another key is given. FILE "-" is standard output.',
    args: [{ name: 'FILE', needed: true, completes: 'file' }],
    options: [
      ...keyOptions,
      { flags: '--stale', says: 'What this manager has, also when no manager leads' },
      { flags: '--inspect', says: 'Read FILE instead: check it and show what it holds' },
      formatOption,
    ],
    examples: [
      { says: 'every night', line: 'sudo covey cluster backup --key-file /root/backup.key /srv/backup/covey.bak' },
      { says: 'is it whole, and what is in it', line: 'covey cluster backup --inspect /srv/backup/covey.bak' },
    ],
    run: runBackup,
  },
  {
    path: ['cluster', 'restore'],
    says: 'Make this machine the only manager of the cluster in a backup',
    about:
      'It takes the place of one manager of then: the one with the address of this machine, else the one of its name, else the one that made the backup. Nodes that remember that one find the cluster again where it was; give this machine that address, or name it with --advertise-addr. Managers of then that come back become workers.',
    args: [{ name: 'FILE', needed: true, completes: 'file' }],
    options: [
      ...keyOptions,
      { flags: '--advertise-addr <address>', says: 'Address or link at which the other nodes reach this one' },
      { flags: '--data-path-addr <address>', says: 'Address or link for the traffic of containers' },
      { flags: '--as <node>', says: 'Take the place of this node of then' },
      {
        flags: '-f, --force',
        says: 'Although this machine is a node: go back to the backup, or leave another cluster for it',
      },
    ],
    examples: [
      { says: 'on a new machine with the address of the old one', line: 'sudo covey cluster restore /srv/covey.bak' },
      {
        says: 'in the place of another manager',
        line: 'sudo covey cluster restore --as rack2 --advertise-addr 10.0.0.12 /srv/covey.bak',
      },
    ],
    run: runRestore,
  },
];

async function runBackup({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const [name = ''] = args;
  if (flags.isOn('inspect')) return await inspect(context, flags, name);
  const { console } = context;
  if (name === '-' && console.stdout.isTerminal)
    throw new CoveyError('bad-argument', 'Cannot write a backup to a terminal', { hint: 'name a file, or use a pipe' });
  const given = await findSecret(context, flags, { isNew: true });
  const { local, control } = await context.connect();
  const pieces = local
    .backupCluster({ stale: flags.isOn('stale') }, { signal: context.signal })
    [Symbol.asyncIterator]();
  const made = await headOf(pieces);
  // What is locked on the managers does not lie open elsewhere.
  const isUnlockKey = given === undefined && made.lockKeyId !== undefined;
  const unlock = isUnlockKey ? await control.getUnlockKey({}, { signal: context.signal }) : undefined;
  const head = unlock === undefined ? made : { ...made, lockKeyId: unlock.keyId };
  const secret = unlock === undefined ? given : Buffer.from(unlock.key);
  const file = encodeBackup(head, contentOf(pieces), secret);
  if (name === '-') {
    for await (const bytes of file) await console.stdout.write(bytes);
    return exitCodes.done;
  }
  await using written = await console.createFile(posix.resolve(console.directory, name), { mode: 0o600 });
  let sizeBytes = 0;
  for await (const bytes of file) {
    await written.write(bytes);
    sizeBytes += bytes.length;
  }
  await written.keep();
  const format = parseFormat(flags.text('format') ?? 'table');
  if (format.kind === 'table') {
    for (const line of renderHead(head, console.clock.wallMs())) await context.print(line);
    const how = unlock === undefined ? ', encrypted' : `, encrypted with the unlock key (id ${unlock.keyId})`;
    await context.print(`${name}  ${renderBytes(sizeBytes)}${secret === undefined ? '' : how}`);
    if (secret === undefined)
      await context.note('It holds the key of the certificate authority and all secrets: keep it like a private key.');
    return exitCodes.done;
  }
  await printRecords(context, format, [
    { record: { ...recordOf(head), file: name, sizeBytes, encrypted: secret !== undefined }, name },
  ]);
  return exitCodes.done;
}

async function headOf(pieces: AsyncIterator<BackupPiece>): Promise<BackupHead> {
  const first = await pieces.next();
  if (first.done === true || first.value.body.kind !== 'head')
    throw new CoveyError('no-connection', 'Cannot make a backup: the daemon has gone');
  const { kind: _, ...head } = first.value.body;
  return head;
}

async function* contentOf(pieces: AsyncIterator<BackupPiece>): AsyncGenerator<Uint8Array> {
  for (let next = await pieces.next(); next.done !== true; next = await pieces.next()) {
    if (next.value.body.kind === 'content') yield next.value.body.data;
  }
}

async function inspect(context: CliContext, flags: Flags, name: string): Promise<number> {
  const { file, sizeBytes } = await readBackup(context, name);
  const secret = await findSecret(context, flags, { isNew: false });
  // With the key at hand the content is proved too.
  if (!file.isEncrypted || secret !== undefined) file.content(secret);
  const { head, isEncrypted } = file;
  const format = parseFormat(flags.text('format') ?? 'table');
  if (format.kind === 'table') {
    for (const line of renderHead(head, context.console.clock.wallMs())) await context.print(line);
    const key = isEncrypted ? `, encrypted${secret === undefined ? '' : ' with this key'}` : '';
    await context.print(`${name}  ${renderBytes(sizeBytes)}, format ${backupFileVersion}${key}: whole and unchanged`);
    return exitCodes.done;
  }
  await printRecords(context, format, [
    { record: { ...recordOf(head), file: name, sizeBytes, encrypted: isEncrypted }, name },
  ]);
  return exitCodes.done;
}

function recordOf(head: BackupHead) {
  return { ...head, takenAt: renderTime(head.takenAtMs), counts: { ...head.counts } };
}

function renderHead(head: BackupHead, nowMs: number): readonly string[] {
  const { counts } = head;
  const objects = [
    plural(counts.nodes, 'node'),
    plural(counts.services, 'service'),
    plural(counts.tasks, 'task'),
    plural(counts.networks, 'network'),
  ];
  return [
    `Cluster ${head.clusterId} as of ${renderTime(head.takenAtMs)} (${renderAge(nowMs - head.takenAtMs)} ago), entry ${head.index}, by ${head.nodeName} with covey ${head.version}.`,
    `  ${objects.join(', ')}; managers ${head.managers.join(', ')}`,
    ...(head.lockKeyId === undefined ? [] : [`  managers were locked; unlock key with the id ${head.lockKeyId}`]),
    ...(head.stale ? ['  no manager led then: later changes may be missing'] : []),
  ];
}

/** The largest file that is read. */
const fileBytesMax = (1 << 30) + (1 << 20);

async function readBackup(
  { console }: CliContext,
  name: string,
): Promise<{ readonly file: BackupFile; readonly sizeBytes: number }> {
  const chunks =
    name === '-' ? console.stdin.read() : (await console.openFile(posix.resolve(console.directory, name))).chunks;
  const pieces: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of chunks) {
    pieces.push(chunk);
    sizeBytes += chunk.length;
    if (sizeBytes > fileBytesMax) {
      throw new CoveyError('too-large', `Cannot read the backup "${name}"`, {
        state: `it has more than ${fileBytesMax} bytes`,
      });
    }
  }
  return { file: decodeBackup(Buffer.concat(pieces), name), sizeBytes };
}

const passphraseMin = 8;

async function findSecret(
  context: CliContext,
  flags: Flags,
  { isNew }: { readonly isNew: boolean },
): Promise<Uint8Array | undefined> {
  const { console } = context;
  const path = flags.text('key-file');
  if (path !== undefined) {
    const bytes = console.findFile(posix.resolve(console.directory, path));
    if (bytes !== undefined && bytes.length >= passphraseMin) return withoutLineEnd(bytes);
    throw new CoveyError('bad-argument', `Cannot use "${path}" as key file`, {
      state:
        bytes === undefined ? 'there is no such file' : `it has ${bytes.length} bytes, ${passphraseMin} are needed`,
      hint: `head -c 32 /dev/urandom > ${path}`,
    });
  }
  if (!flags.isOn('passphrase')) return undefined;
  if (!console.stdin.isTerminal) {
    throw new CoveyError('bad-argument', 'Cannot ask for a passphrase: this is no terminal', {
      hint: '--key-file FILE',
    });
  }
  const what = { isSecret: true, what: isNew ? 'make a backup' : 'open the backup' };
  const text = await ask(context, 'Passphrase: ', what);
  if (isNew && text.length < passphraseMin)
    throw new CoveyError('bad-argument', `Cannot use a passphrase of less than ${passphraseMin} characters`);
  if (isNew && (await ask(context, 'Once more: ', what)) !== text)
    throw new CoveyError('bad-argument', 'Cannot use this passphrase: the second one differs');
  return Buffer.from(text);
}

/** An unlock key in a file is the same with the line end that an editor leaves. */
function withoutLineEnd(bytes: Uint8Array): Uint8Array {
  const text = Buffer.from(bytes).toString('latin1').trim();
  return text.startsWith('CVKEY-1-') ? Buffer.from(text) : bytes;
}

/** What opens the file: as given, or the unlock key of then, which is asked for. */
async function secretOf(context: CliContext, flags: Flags, { isEncrypted, head }: BackupFile) {
  const given = await findSecret(context, flags, { isNew: false });
  if (given !== undefined || !isEncrypted || head.lockKeyId === undefined) return given;
  if (context.console.stdin.isTerminal) {
    const question = `Unlock key with the id ${head.lockKeyId}: `;
    return Buffer.from((await ask(context, question, { isSecret: true, what: 'open the backup' })).trim());
  }
  throw new CoveyError('backup-key-wrong', 'Cannot open the backup: it is encrypted', {
    state: `its cluster was locked; the unlock key has the id ${head.lockKeyId}`,
    hint: '--key-file FILE, with the unlock key in the file',
  });
}

async function runRestore({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const [name = ''] = args;
  const { file } = await readBackup(context, name);
  const content = file.content(await secretOf(context, flags, file));
  const { local } = await context.connect();
  const call = local.restoreCluster({ signal: context.signal });
  const send = async (body: RestorePiece['body']): Promise<void> => call.send({ body });
  await send({
    kind: 'start',
    head: file.head,
    advertiseAddress: flags.text('advertise-addr') ?? '',
    dataPathAddress: flags.text('data-path-addr') ?? '',
    asNode: flags.text('as') ?? '',
    force: flags.isOn('force'),
  });
  for (let at = 0; at < content.length; at += sendBytes)
    await send({ kind: 'content', data: content.subarray(at, at + sendBytes) });
  await send({ kind: 'end', totalBytes: content.length, digest: createHash('sha256').update(content).digest() });
  call.end();
  let last: RecoverProgress | undefined;
  for await (const progress of call) {
    last = progress;
    const line = renderStep(progress);
    if (line !== '') await context.note(line);
  }
  if (last?.step !== 'done')
    throw new CoveyError('no-connection', 'Cannot say how the restore ended: the daemon has gone', {
      hint: 'covey info',
    });
  const { nodes, nodesBack, missing, formerManagers } = last;
  await context.print(
    `This machine is the only manager of cluster ${file.head.clusterId.slice(0, 6)}; ${nodesBack} of ${plural(nodes, 'node')} connected.`,
  );
  if (missing.length > 0) await context.print(`  not back yet: ${missing.join(', ')}`);
  if (formerManagers.length > 0)
    await context.print(`  managers of then, workers from now on: ${formerManagers.join(', ')}`);
  return exitCodes.done;
}

const sendBytes = 256 * 1024;
