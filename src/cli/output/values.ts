/**
 * Numbers and times as people read them: binary sizes with one decimal, times by their age; RFC 3339 for programs.
 *
 * Not here: reading such texts (tasks/spec/values.ts).
 */

const sizeUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** "1.5 GiB"; whole bytes below one KiB. */
export function renderBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < sizeUnits.length - 1) {
    value /= 1024;
    unit += 1;
  }
  // 1023.96 KiB would be shown as 1024.0.
  if (unit > 0 && value >= 1023.95 && unit < sizeUnits.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return unit === 0 ? `${Math.round(value)} B` : `${value.toFixed(1)} ${sizeUnits[unit]}`;
}

/** "41.0 of 66.3 MiB", in the unit of the whole. */
export function renderBytesOf(bytes: number, total: number): string {
  const [, unit = 'B'] = renderBytes(total).split(' ');
  const scale = 1024 ** Math.max(0, sizeUnits.indexOf(unit));
  const digits = unit === 'B' ? 0 : 1;
  return `${(bytes / scale).toFixed(digits)} of ${(total / scale).toFixed(digits)} ${unit}`;
}

const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

/** One unit: "0s", "59s", "2m", "23h", "4d", "3w", "2y". */
export function renderAge(ageMs: number): string {
  const age = Math.max(0, ageMs);
  if (age < minute) return `${Math.floor(age / second)}s`;
  if (age < hour) return `${Math.floor(age / minute)}m`;
  if (age < day) return `${Math.floor(age / hour)}h`;
  if (age < 60 * day) return `${Math.floor(age / day)}d`;
  if (age < 730 * day) return `${Math.floor(age / (7 * day))}w`;
  return `${Math.floor(age / (365 * day))}y`;
}

/** "4.2 s", "1 min 5 s", "2 h 3 min": how long something took or may take. */
export function renderDuration(ms: number): string {
  if (ms < 100) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / second).toFixed(1)} s`;
  if (ms < hour) return `${Math.floor(ms / minute)} min ${Math.floor((ms % minute) / second)} s`;
  if (ms < day) return `${Math.floor(ms / hour)} h ${Math.floor((ms % hour) / minute)} min`;
  return `${Math.floor(ms / day)} d ${Math.floor((ms % day) / hour)} h`;
}

/** "2026-11-20T12:00:00.123Z"; empty for a time that is not set. */
export function renderTime(unixMs: number): string {
  return unixMs === 0 ? '' : new Date(unixMs).toISOString();
}

/** Cores with at most one decimal: "8", "0.5". */
export function renderCpus(cpuNanos: number): string {
  return String(Math.round(cpuNanos / 1e8) / 10);
}

/** "1 task", "3 tasks". */
export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
