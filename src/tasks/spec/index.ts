/**
 * Stack files: YAML as Docker and the Compose specification write it, to the request that deploys it. Also the parsers of
 * single values (durations, sizes, ports, mounts, env files), which the flags of the command line share.
 *
 * Keeps true: nothing in a file is ignored. A key is honoured, or refused with its path, file, line and column.
 *
 * How it goes: yaml.ts (text to tree with places) -> variables.ts -> objects.ts, service.ts … (tree to model) -> merge.ts
 * (several files) -> request.ts (model to specs). Pure: files and environment come in as functions.
 */
import { posix } from 'node:path';
import { parseDotEnv } from './env-file.js';
import type { Field } from './fields.js';
import { mergeStacks } from './merge.js';
import type { StackModel } from './model.js';
import { readStack } from './objects.js';
import { openReport, type Report, type StackWarning, stackError } from './problems.js';
import { requestOf, type StackSpecs } from './request.js';
import { substituteTree } from './variables.js';
import { parseYaml } from './yaml.js';

export interface StackFileText {
  /** For messages: as the user named it. */
  readonly path: string;
  readonly text: string;
}

export interface LoadStackOptions {
  /** undefined: the key `name` of the file. */
  readonly name: string | undefined;
  /** Absolute; paths in the files are relative to it. By custom the folder of the first file. */
  readonly directory: string;
  /** For paths that begin with "~". */
  readonly homeDirectory: string | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Content of a file by its absolute path; undefined when there is none. */
  readonly findFile: (path: string) => Uint8Array | undefined;
  /** False: "$" has no meaning (for files that a tool has written). Default true. */
  readonly substitute?: boolean | undefined;
}

export interface LoadedStack extends StackSpecs {
  readonly name: string;
  readonly warnings: readonly StackWarning[];
}

/** Throws a CoveyError with a stack-… code that names file, line and column. */
export function loadStack(files: readonly StackFileText[], options: LoadStackOptions): LoadedStack {
  const report = openReport();
  const findVariable = variablesOf(options);
  const context = {
    findVariable,
    findFile: options.findFile,
    resolvePath: (path: string) => resolvePath(path, options),
  };
  const models = files.map(file => {
    const tree = parseYaml(file.path, file.text);
    const filled = options.substitute === false ? tree : substituteTree(tree, findVariable, report);
    const root: Field = { tree: filled, path: '', report };
    return readStack(root, context);
  });
  report.throwIfAny();
  const [first, ...others] = models;
  const model = others.reduce((merged, later) => mergeStacks(merged, later), first ?? emptyStack());
  const name = stackName(model, { asked: options.name, file: files[0]?.path ?? 'the stack file', report });
  const specs = requestOf(model, name, report);
  report.throwIfAny();
  return { name, ...specs, warnings: report.warnings() };
}

function emptyStack(): StackModel {
  return {
    name: undefined,
    services: new Map(),
    networks: new Map(),
    volumes: new Map(),
    secrets: new Map(),
    configs: new Map(),
  };
}

/** The environment first, then `.env` beside the file. */
function variablesOf(options: LoadStackOptions): (name: string) => string | undefined {
  const fromEnvironment = (name: string): string | undefined => options.environment[name];
  const path = posix.join(options.directory, '.env');
  const data = options.findFile(path);
  if (data === undefined) return fromEnvironment;
  const parsed = parseDotEnv(new TextDecoder().decode(data), fromEnvironment);
  if (parsed.kind === 'bad') {
    throw stackError([
      { code: 'stack-file', place: { file: path, line: 1, column: 1 }, message: `it needs ${parsed.valid}` },
    ]);
  }
  return name => options.environment[name] ?? parsed.value.get(name);
}

function resolvePath(path: string, options: LoadStackOptions): string {
  const home = /^~(?:\/|$)/u.test(path) ? options.homeDirectory : undefined;
  return home === undefined ? posix.resolve(options.directory, path) : posix.join(home, path.slice(1));
}

function stackName(
  model: StackModel,
  options: { readonly asked: string | undefined; readonly file: string; readonly report: Report },
): string {
  const name = options.asked ?? model.name;
  const place = { file: options.file, line: 1, column: 1 };
  if (name === undefined) {
    throw stackError([
      { code: 'stack-type', place, message: 'the stack has no name', hint: 'give one after the file, or the key name' },
    ]);
  }
  if (options.asked !== undefined && model.name !== undefined && model.name !== name) {
    options.report.warn({
      place,
      message: `the file names the stack "${model.name}", and it is deployed as "${name}"`,
    });
  }
  return name;
}
