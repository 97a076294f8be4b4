/**
 * Loads stack files for tests: files and environment are given as objects. Percent signs before a brace stand for dollar signs.
 */
import { CoveyError } from '../../../src/errors.js';
import { type LoadedStack, loadStack } from '../../../src/tasks/spec/index.js';

export interface World {
  readonly name?: string;
  readonly files?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
}

export function load(texts: string | readonly string[], world: World = {}): LoadedStack {
  const all = typeof texts === 'string' ? [texts] : texts;
  const files = all.map((text, at) => ({
    path: at === 0 ? 'stack.yaml' : `stack${at + 1}.yaml`,
    text: text.replaceAll('%', '$'),
  }));
  return loadStack(files, {
    name: world.name ?? 'shop',
    directory: '/site',
    homeDirectory: '/home/me',
    environment: world.env ?? {},
    findFile: path => {
      const text = world.files?.[path];
      return text === undefined ? undefined : new TextEncoder().encode(text);
    },
  });
}

/** The error of loading, as "code: message". */
export function refusal(text: string, world: World = {}): string {
  try {
    load(text, world);
  } catch (error) {
    if (error instanceof CoveyError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return 'loaded';
}
