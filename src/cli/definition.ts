/**
 * How a command is declared: data, from which parsing, help, completion and the nearest-word hints are made.
 *
 * A module with definitions imports nothing heavy: what an action needs of gRPC or YAML it gets through its context, which
 * loads it when asked. That keeps `covey --help` at the price of starting Node.
 *
 * Not here: the list of all commands (tree.ts), parsing (parse.ts).
 */
import type { CliContext } from './context.js';
import type { Flags } from './flags.js';

/** What completion offers for an argument or an option's value. */
export type Completes =
  | 'node'
  | 'service'
  | 'task'
  | 'image'
  | 'network'
  | 'volume'
  | 'stack'
  | 'file'
  | readonly string[];

export interface ArgumentDefinition {
  /** "SERVICE", as help shows it. */
  readonly name: string;
  readonly needed: boolean;
  /** Takes all that follow; only the last argument may. */
  readonly many?: boolean;
  readonly completes?: Completes;
}

export interface OptionDefinition {
  /** "-p, --publish <port>", as commander writes it. */
  readonly flags: string;
  readonly says: string;
  /** May be given several times. */
  readonly many?: boolean;
  readonly completes?: Completes;
}

interface Example {
  /** What it does, as a comment. */
  readonly says: string;
  readonly line: string;
}

export interface Invocation {
  readonly args: readonly string[];
  readonly flags: Flags;
}

export interface CommandDefinition {
  /** ["service", "create"]. */
  readonly path: readonly string[];
  /** One line, without a full stop. */
  readonly says: string;
  /** Longer, for the command's own help. */
  readonly about?: string;
  readonly args: readonly ArgumentDefinition[];
  readonly options: readonly OptionDefinition[];
  /** Two at least. */
  readonly examples: readonly Example[];
  /** Options end at the first argument: what follows belongs to another program. */
  readonly passThrough?: boolean;
  /** Not in help or completion. */
  readonly hidden?: boolean;
  /** Its exit code. */
  readonly run: (invocation: Invocation, context: CliContext) => Promise<number>;
}

/** Options of every command. */
export const globalOptions: readonly OptionDefinition[] = [
  {
    flags: '--socket <path>',
    says: 'Socket of the daemon (COVEY_SOCKET; default /run/covey/covey.sock)',
    completes: 'file',
  },
  {
    flags: '--run-dir <dir>',
    says: 'Run directory of the daemon, where its socket is (COVEY_RUN_DIR)',
    completes: 'file',
  },
  { flags: '-h, --help', says: 'Show this help' },
];

/** Options of every list. */
export const listOptions: readonly OptionDefinition[] = [
  { flags: '-f, --filter <filter>', says: 'Show only what fits, such as name=web or state!=running', many: true },
  {
    flags: '--format <format>',
    says: "json, yaml, name, table or '{{.field.path}}'",
    completes: ['json', 'yaml', 'name', 'table'],
  },
  { flags: '--no-trunc', says: 'Cut nothing to fit the screen' },
  { flags: '-q, --quiet', says: 'Ids only' },
  { flags: '--sort <column>', says: 'Sort by a column or field; -column for the other way round' },
];

/** Options of what reads the state of the cluster. Without them: the latest state, or without a leader what this manager knows. */
export const readOptions: readonly OptionDefinition[] = [
  { flags: '--consistent', says: 'The latest state, or an error when no manager leads' },
  { flags: '--stale', says: 'At once, what this node knows, without asking another' },
];

/** Options of every list of objects of the cluster. */
export const clusterListOptions: readonly OptionDefinition[] = [...listOptions, ...readOptions];

/** Options of commands that wait for what they have changed. */
export const waitOptions: readonly OptionDefinition[] = [
  { flags: '-d, --detach', says: 'Do not wait until it is so' },
  { flags: '--timeout <duration>', says: 'Wait no longer than this; then the exit code is 3' },
];

export const formatOption: OptionDefinition = {
  flags: '--format <format>',
  says: "json, yaml, name or '{{.field.path}}'",
  completes: ['json', 'yaml', 'name'],
};

/** Of commands whose answer is no list. */
export const jsonOption: OptionDefinition = {
  flags: '--format <format>',
  says: 'json: for programs',
  completes: ['json'],
};

/** Of commands about tasks that this node's own agent can answer. */
export const localOption: OptionDefinition = {
  flags: '--local',
  says: 'Only what this node has, from its own agent, without any manager',
};

export const yesOption: OptionDefinition = { flags: '--yes', says: 'Do not ask' };
