/**
 * Finds vector files and replays them. Which of the three forms a file has is seen from its commands.
 *
 * Level 1: lines of a log (`INFO …`) in the expected output are left out of the comparison; an output of nothing else
 * counts as `ok`. Everything else must be equal to the letter. A file stops at its first difference.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { RaftConfig } from '../../../src/raft/core/types.js';
import { ConfChangeVectors } from './confchange.js';
import { Interaction } from './interaction.js';
import { runQuorum } from './quorum.js';
import { type Directive, parseVector } from './reader.js';

export type FileResult =
  | { readonly kind: 'passed'; readonly name: string; readonly directives: number }
  | { readonly kind: 'failed'; readonly name: string; readonly problem: string };

/** The folder of the whole project, seen from dist/test/raft/vectors/. */
const projectRoot = join(dirname(fileURLToPath(import.meta.url)), '../../../..');

/** Vectors of our own. */
export const ownVectors = join(projectRoot, 'test/raft/vectors/own');

/** etcd's vectors, if this machine has them: COVEY_VECTORS, or beside the project. */
export function findForeignVectors(environment: NodeJS.ProcessEnv): string | undefined {
  const folder = environment['COVEY_VECTORS'] ?? join(projectRoot, '../shared/vectors/etcd-raft');
  return existsSync(folder) ? folder : undefined;
}

/** Every vector below the folder (or the one file), by name. */
export function listVectors(folder: string): string[] {
  if (statSync(folder).isFile()) return [folder];
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map(name => join(folder, name))
    .filter(
      path =>
        statSync(path).isFile() &&
        !/(^|\/)(README|LICENSE|\.)[^/]*$/.test(path) &&
        /\n----\n/.test(readFileSync(path, 'utf8')),
    )
    .sort();
}

export function replayFile(path: string, folder: string, overrides: Partial<RaftConfig> = {}): FileResult {
  const name = relative(folder, path) || path;
  try {
    return replay(name, readFileSync(path, 'utf8'), overrides);
  } catch (error) {
    return { kind: 'failed', name, problem: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

export function replay(name: string, text: string, overrides: Partial<RaftConfig> = {}): FileResult {
  const directives = parseVector(text);
  if (directives.length === 0) return { kind: 'failed', name, problem: 'holds no directive' };
  const run = runnerFor(directives[0]!.command, overrides);
  for (const directive of directives) {
    let found: string;
    try {
      found = run(directive);
    } catch (error) {
      found = `threw: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
    }
    if (!found.endsWith('\n')) found += '\n';
    const expected = withoutLog(directive.expected);
    if (withoutLog(found) !== expected) {
      return {
        kind: 'failed',
        name,
        problem: `${name}:${directive.line} ${directive.command}\n${difference(expected, withoutLog(found))}`,
      };
    }
  }
  return { kind: 'passed', name, directives: directives.length };
}

/** The same vector with the output of today as what is expected: for vectors of our own, to be read before it is kept. */
export function rewrite(text: string): string {
  const lines = text.replace(/\n$/, '').split('\n');
  const directives = parseVector(text);
  const run = runnerFor(directives[0]?.command ?? '', {});
  const outputs = directives.map(directive => run(directive).replace(/\n$/, '').split('\n'));
  for (const [at, { block }] of [...directives.entries()].reverse()) {
    lines.splice(block.from, block.to - block.from, ...outputs[at]!);
  }
  return `${lines.join('\n')}\n`;
}

function runnerFor(command: string, overrides: Partial<RaftConfig>): (directive: Directive) => string {
  if (command === 'committed' || command === 'vote') return runQuorum;
  if (command === 'simple' || command === 'enter-joint' || command === 'leave-joint') {
    const vectors = new ConfChangeVectors();
    return directive => vectors.run(directive);
  }
  const group = new Interaction(overrides);
  return directive => group.run(directive);
}

function withoutLog(text: string): string {
  const lines = text.split('\n').filter(line => !/^\s*(DEBUG|INFO|WARN|ERROR|FATAL) /.test(line));
  const rest = lines.join('\n');
  return rest.trim() === '' ? 'ok\n' : rest;
}

function difference(expected: string, found: string): string {
  const want = expected.split('\n');
  const have = found.split('\n');
  const at = want.findIndex((line, index) => line !== have[index]);
  const from = Math.max(0, at - 3);
  const show = (lines: readonly string[], sign: string) => lines.slice(from, at + 6).map(line => `${sign} ${line}`);
  return [...show(want, 'expected |'), ...show(have, 'found    |')].join('\n');
}
