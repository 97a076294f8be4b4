/**
 * Secrets and configs of a stack. Their content never changes: other content makes a new object under the same name, the old
 * one is renamed ("<name>@<digest>") and goes when no task uses it any more. So a rollout and a way back are one thing.
 *
 * Pure. Called by stack-plan.ts. Not here: services that follow (stack-plan.ts), the removal (orchestrate/reap.ts).
 */
import { createHash } from 'node:crypto';
import { CoveyError } from '../../errors.js';
import type { Config, Secret, StackChange, StackFile } from '../../gen/types.js';
import type { Random } from '../../host.js';
import { type ConfigId, newId, type SecretId } from '../../ids.js';
import type { View, Write } from '../../raft/store.js';
import { checkLabels, checkName } from './check.js';
import { isSame } from './same.js';

export interface FilesPlan {
  readonly writes: readonly Write[];
  readonly changes: readonly StackChange[];
  /** Ids by name, as they will be. */
  readonly ids: ReadonlyMap<string, string>;
}

const dataMaxBytes = 500 << 10;

type FileTable = 'secret' | 'config';
type Stored = Secret | Config;

export function planFiles(
  view: View,
  table: FileTable,
  {
    stack,
    files,
    random,
  }: { readonly stack: string; readonly files: readonly StackFile[]; readonly random: Pick<Random, 'bytes'> },
): FilesPlan {
  const writes: Write[] = [];
  const changes: StackChange[] = [];
  const ids = new Map<string, string>();
  for (const file of files) {
    checkFile(table, file);
    const digest = createHash('sha256').update(file.data).digest();
    const present = view.findByName(table, file.name);
    if (present !== undefined && present.spec.stack !== stack) throw takenError(table, file.name, present.spec.stack);
    const spec = { name: file.name, labels: file.labels, stack };
    const change = (kind: StackChange['kind'], ...details: string[]): StackChange => ({
      kind,
      object: table,
      name: file.name,
      details,
    });
    if (present !== undefined && Buffer.compare(present.digest, digest) === 0) {
      const isUnchanged = isSame(present.spec, spec) && present.removing !== true;
      if (!isUnchanged) writes.push(putFile(table, { ...present, spec, removing: undefined }));
      changes.push(
        isUnchanged
          ? change('unchanged')
          : change('update', isSame(present.spec, spec) ? 'kept, it was being removed' : 'labels changed'),
      );
      ids.set(file.name, present.id);
      continue;
    }
    if (present !== undefined)
      writes.push(putFile(table, { ...present, spec: { ...present.spec, name: oldName(present) }, removing: true }));
    const former = view.findByName(table, `${file.name}@${shortDigest(digest)}`);
    const next: Omit<Stored, 'meta' | 'id'> & { readonly id: string } =
      former === undefined
        ? { id: newId<SecretId>(random.bytes), spec, data: file.data, digest }
        : { ...former, spec, removing: undefined };
    writes.push(putFile(table, next));
    changes.push(present === undefined ? change('create') : change('update', 'new version'));
    ids.set(file.name, next.id);
  }
  return { writes, changes, ids };
}

function checkFile(table: FileTable, { name, labels, data }: StackFile): void {
  checkName(name, `${table}s."${name}"`);
  checkLabels(labels, `${table}s."${name}".labels`);
  if (data.length <= dataMaxBytes) return;
  throw new CoveyError('too-large', `Cannot store ${table} "${name}"`, {
    state: `${data.length} bytes, at most ${dataMaxBytes}`,
  });
}

export function takenError(table: string, name: string, stack: string): CoveyError {
  const owner = stack === '' ? 'it belongs to no stack' : `it belongs to stack "${stack}"`;
  return new CoveyError('already-exists', `Cannot deploy ${table} "${name}": the name is taken`, { state: owner });
}

function oldName({ spec, digest }: Stored): string {
  return `${spec.name}@${shortDigest(digest)}`;
}

function shortDigest(digest: Uint8Array): string {
  return Buffer.from(digest).toString('hex').slice(0, 12);
}

function putFile(table: FileTable, object: Omit<Stored, 'meta' | 'id'> & { readonly id: string }): Write {
  return table === 'secret'
    ? { kind: 'put', table, object: { ...object, id: object.id as SecretId } }
    : { kind: 'put', table, object: { ...object, id: object.id as ConfigId } };
}
