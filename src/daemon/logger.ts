/**
 * Log lines of the daemon: pino's JSON, or the same rendered for people. Written to stderr, one write a line.
 *
 * Not here: what deserves a line (the loop that owns the key logs it once).
 */
import pino from 'pino';
import { causesOf, codeOf, deepest, messageOf } from '../errors.js';
import type { LogFields, Logger } from '../telemetry.js';
import type { LogLevel } from './config.js';

export interface LoggerOptions {
  readonly level: LogLevel;
  readonly format: 'text' | 'json';
  readonly write: (line: string) => void;
}

export interface AdjustableLogger extends Logger {
  readonly setLevel: (level: LogLevel) => void;
}

export function makeLogger(options: LoggerOptions): AdjustableLogger {
  const destination = { write: (line: string) => options.write(options.format === 'json' ? line : renderLine(line)) };
  const base = pino(
    {
      level: options.level,
      base: null,
      messageKey: 'message',
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: label => ({ level: label }) },
    },
    destination,
  );
  const wrap = (logger: pino.Logger): AdjustableLogger => ({
    debug: (message, fields) => logger.debug(plain(fields), message),
    info: (message, fields) => logger.info(plain(fields), message),
    warn: (message, fields) => logger.warn(plain(fields), message),
    error: (message, fields) => logger.error(plain(fields), message),
    with: fields => wrap(logger.child(plain(fields))),
    setLevel: level => {
      logger.level = level;
    },
  });
  return wrap(base);
}

/** Errors among the fields become text: message, state, code, and the stack of what is a defect. */
function plain(fields: LogFields = {}): Record<string, unknown> {
  const { error, ...rest } = fields;
  if (error === undefined) return rest;
  const code = codeOf(error);
  const stack = code === 'internal' || code === 'bug' ? causesOf(error).at(-1)?.stack : undefined;
  return { ...rest, error: messageOf(error), state: deepest(error, 'state'), code, stack };
}

/** "12:00:01.123 info  session opened  node=rack2 term=3". */
export function renderLine(json: string): string {
  const { level, time, message, stack, ...fields } = JSON.parse(json) as Record<string, unknown>;
  const extra = Object.entries(fields).map(([key, value]) => `${key}=${renderValue(value)}`);
  const head = `${String(time).slice(11, 23)} ${String(level).padEnd(5)} ${[message, ...extra].join('  ')}\n`;
  return stack === undefined ? head : `${head}${String(stack)}\n`;
}

function renderValue(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return /[\s"=]/.test(text) ? JSON.stringify(text) : text;
}
