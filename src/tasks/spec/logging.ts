/**
 * The key `logging` and the options --log-driver and --log-opt: the drivers json-file and local, which both mean files on the
 * node, and their limits. Other drivers and options are refused, not ignored.
 *
 * Not here: rotation (tasks/log-rotation.ts).
 */
import type { LogOptions } from '../../gen/types.js';
import { type Field, problem, readKeys, readPairs, readText } from './fields.js';
import { type Parsed, parseBytes, parseInteger } from './values.js';

export const logDrivers: readonly string[] = ['json-file', 'local'];
const logOptionNames: readonly string[] = ['max-size', 'max-file'];

const sizeMinBytes = 1_024;
const filesMax = 100;

/** One option put into what is there. */
export function parseLogOption(name: string, text: string, before: LogOptions | undefined): Parsed<LogOptions> {
  const options = before ?? { sizeMaxBytes: 0, filesMax: 0 };
  if (name === 'max-file') {
    const parsed = parseInteger(text, { min: 1, max: filesMax });
    return parsed.kind === 'ok' ? { kind: 'ok', value: { ...options, filesMax: parsed.value } } : parsed;
  }
  if (name !== 'max-size') return { kind: 'bad', valid: `one of ${logOptionNames.join(', ')}` };
  const parsed = parseBytes(text);
  if (parsed.kind !== 'ok') return parsed;
  if (parsed.value < sizeMinBytes) return { kind: 'bad', valid: `a size of ${sizeMinBytes} bytes or more` };
  return { kind: 'ok', value: { ...options, sizeMaxBytes: parsed.value } };
}

export function readLogging(field: Field | undefined): LogOptions | undefined {
  if (field === undefined) return undefined;
  const find = readKeys(field, { what: 'logging', known: ['driver', 'options'], notHonoured: [] });
  const driver = readText(find('driver'));
  if (driver !== undefined && !logDrivers.includes(driver)) {
    return problem(field, 'stack-not-honoured', `has the driver "${driver}"; covey has ${logDrivers.join(' and ')}`);
  }
  let options: LogOptions | undefined;
  for (const [name, value] of readPairs(find('options'))) {
    if (!logOptionNames.includes(name)) {
      problem(field, 'stack-not-honoured', `has the option "${name}"; covey has ${logOptionNames.join(' and ')}`);
      continue;
    }
    const parsed = parseLogOption(name, value ?? '', options);
    if (parsed.kind === 'ok') options = parsed.value;
    else problem(field, 'stack-type', `has a ${name} that has to be ${parsed.valid}`);
  }
  return options;
}
