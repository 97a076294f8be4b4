/**
 * Names of images as people write them ("hello:1", "ghcr.io/a/b@sha256:…"), and the one full form in which the store keeps
 * them ("docker.io/library/hello:1"). Two texts mean the same image when their full forms are equal, as with Docker.
 *
 * Not here: which image a name points to (store.ts).
 */
import { CoveyError } from '../../errors.js';

export interface ImageReference {
  readonly registry: string;
  readonly repository: string;
  readonly tag: string | undefined;
  readonly digest: string | undefined;
}

const defaultRegistry = 'docker.io';
const officialFolder = 'library/';
const repositoryMax = 255;

const pathPart = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const tagForm = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const registryForm =
  /^(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$/;
const digestForm = /^sha256:[0-9a-f]{64}$/;

/** Whether the text is a digest as this store uses them: sha256 in lower-case hexadecimal. */
export function isDigest(text: string): boolean {
  return digestForm.test(text);
}

/** Throws image-bad-name. A name without tag and digest gets no tag here: `withDefaultTag` adds it. */
export function parseReference(text: string): ImageReference {
  const at = text.indexOf('@');
  const named = at < 0 ? text : text.slice(0, at);
  const digest = at < 0 ? undefined : text.slice(at + 1);
  if (digest !== undefined && !isDigest(digest)) {
    const isOther = /^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:/.test(digest) && !digest.startsWith('sha256:');
    throw badName(
      text,
      isOther
        ? `digests are sha256 here, and "${digest.split(':')[0]}" is another algorithm; the image has a sha256 digest too`
        : 'after "@" comes sha256: and 64 hexadecimal digits',
    );
  }
  const slash = named.lastIndexOf('/');
  const colon = named.indexOf(':', slash + 1);
  const tag = colon < 0 ? undefined : named.slice(colon + 1);
  const path = colon < 0 ? named : named.slice(0, colon);
  if (tag !== undefined && !tagForm.test(tag)) {
    throw badName(text, 'a tag is 1 to 128 letters, digits, "_", "." or "-", and begins with none of the last two');
  }
  return { ...splitRegistry(text, path), tag, digest };
}

function splitRegistry(text: string, path: string): { readonly registry: string; readonly repository: string } {
  const slash = path.indexOf('/');
  const head = slash < 0 ? '' : path.slice(0, slash);
  const hasRegistry = /[.:]/.test(head) || head === 'localhost' || /[A-Z]/.test(head);
  const registry = hasRegistry ? (head === 'index.docker.io' ? defaultRegistry : head) : defaultRegistry;
  const rest = hasRegistry ? path.slice(slash + 1) : path;
  if (!registryForm.test(registry)) throw badName(text, `"${registry}" is no host name, with or without a port`);
  if (rest === '') throw badName(text, 'the name is empty');
  if (!hasRegistry && /^[0-9a-f]{64}$/.test(rest)) throw badName(text, '64 hexadecimal digits are an id, not a name');
  const repository = registry === defaultRegistry && !rest.includes('/') ? `${officialFolder}${rest}` : rest;
  if (repository.length > repositoryMax) throw badName(text, `the name is longer than ${repositoryMax} characters`);
  const bad = repository.split('/').find(part => !pathPart.test(part));
  if (bad !== undefined) {
    throw badName(
      text,
      `"${bad}" is not made of lower-case letters, digits and single ".", "_", "__" or "-" between them`,
    );
  }
  return { registry, repository };
}

function badName(text: string, why: string): CoveyError {
  return new CoveyError('image-bad-name', `Cannot use "${text.slice(0, 300)}" as an image name: ${why}`, {
    hint: '[registry/]name[:tag][@sha256:digest], for example hello:1',
  });
}

/** With tag "latest" when there is neither tag nor digest. */
export function withDefaultTag(reference: ImageReference): ImageReference {
  return reference.tag === undefined && reference.digest === undefined ? { ...reference, tag: 'latest' } : reference;
}

/** The full form, without the digest: the key of the index. */
export function renderName(reference: ImageReference): string {
  const tag = reference.tag === undefined ? '' : `:${reference.tag}`;
  return `${reference.registry}/${reference.repository}${tag}`;
}

/** "hello:1" -> "docker.io/library/hello:1". For names that images get: a digest makes no sense there. */
export function fullName(text: string): string {
  const reference = withDefaultTag(parseReference(text));
  if (reference.digest !== undefined) throw badName(text, 'a name to give has no digest');
  return renderName(reference);
}

/** undefined when the text is no name. */
export function findFullName(text: string): string | undefined {
  try {
    return fullName(text);
  } catch (error) {
    if (error instanceof CoveyError) return undefined;
    throw error;
  }
}

/** "docker.io/library/hello:1" -> "hello:1": what people see. */
export function familiarName(full: string): string {
  const prefix = `${defaultRegistry}/`;
  if (!full.startsWith(prefix)) return full;
  const rest = full.slice(prefix.length);
  const short = rest.startsWith(officialFolder) && !rest.slice(officialFolder.length).includes('/');
  return short ? rest.slice(officialFolder.length) : rest;
}
