/**
 * What the checks of control/ share: a refusal that names the field, and the forms of names.
 *
 * Called by validate.ts, containers.ts, stacks.ts. Not here: what depends on the state of the cluster (resolve.ts).
 */
import { CoveyError, type ErrorCode } from '../../errors.js';
import { isId } from '../../ids.js';

/** Throws a refusal that names the field by its path. */
export type Refuse = (what: string, code?: ErrorCode) => never;

export function refuseAt(path: string): Refuse {
  return (what, code = 'bad-argument') => {
    throw new CoveyError(code, `Cannot accept ${path}: ${what}`);
  };
}

const nameMax = 63;
const nameForm = /^[a-zA-Z0-9](?:[a-zA-Z0-9_.-]*[a-zA-Z0-9])?$/;

export function checkName(name: string, path: string): void {
  const refuse = refuseAt(path);
  if (name === '') refuse('a name is missing');
  if (name.length > nameMax)
    refuse(`"${name.slice(0, 20)}…" has ${name.length} characters, at most ${nameMax} are allowed`);
  if (!nameForm.test(name)) {
    refuse(`"${name}" is not made of letters, digits and "_", ".", "-" between them`);
  }
  if (isId(name)) refuse(`"${name}" has the form of an id`);
}

export function checkLabels(labels: Readonly<Record<string, string>>, path: string): void {
  for (const key of Object.keys(labels)) {
    if (key === '' || /\s/.test(key)) refuseAt(path)(`"${key}" is no label: names are not empty and have no blanks`);
  }
}

/** The first text that occurs twice. */
export function findDuplicate(texts: readonly string[]): string | undefined {
  return texts.find((text, at) => texts.indexOf(text) !== at);
}
