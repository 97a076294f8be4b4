/**
 * What the daemon tells its operators: log lines with fields, counters, and warnings (standing conditions with a code that
 * `doctor` and `info` show until they end).
 *
 * Not here: logs of containers (tasks/logs), the Prometheus page (daemon/http).
 */
import type { ErrorCode } from './errors.js';

export type LogFields = Readonly<Record<string, unknown>>;

export interface Logger {
  readonly debug: (message: string, fields?: LogFields) => void;
  readonly info: (message: string, fields?: LogFields) => void;
  readonly warn: (message: string, fields?: LogFields) => void;
  /** `error` among the fields is rendered with its chain of causes. */
  readonly error: (message: string, fields?: LogFields) => void;
  /** A logger that adds fields to every line. */
  readonly with: (fields: LogFields) => Logger;
}

/** A condition that stands: raised by its owner, lowered when it ends. */
export interface Warning {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string;
}

export interface Telemetry {
  readonly log: Logger;
  readonly raise: (warning: Warning) => void;
  readonly lower: (code: ErrorCode) => void;
  readonly warnings: () => readonly Warning[];
  /** Adds to a counter; names are Prometheus names without the prefix "covey_". */
  readonly count: (name: string, by?: number) => void;
  readonly counters: () => ReadonlyMap<string, number>;
}

export function makeTelemetry(log: Logger): Telemetry {
  const warnings = new Map<ErrorCode, Warning>();
  const counters = new Map<string, number>();
  return {
    log,
    raise: warning => {
      if (!warnings.has(warning.code)) log.warn(warning.message, { code: warning.code, hint: warning.hint });
      warnings.set(warning.code, warning);
    },
    lower: code => {
      if (warnings.delete(code)) log.info('condition ended', { code });
    },
    warnings: () => [...warnings.values()],
    count: (name, by = 1) => counters.set(name, (counters.get(name) ?? 0) + by),
    counters: () => counters,
  };
}
