/**
 * Reads recorded histories in the two forms that porcupine's corpus has:
 *   - Jepsen's log of a register: `… jepsen.util - PROCESS :invoke|:ok|:fail|:info :read|:write|:cas VALUE`
 *   - one EDN map a line for a map of texts: `{:process 0, :type :invoke, :f :append, :key "0", :value "x"}`
 *
 * `:ok` = it happened; `:fail` = it certainly did not (a failed cas: the value was another); `:info` = nobody knows, so
 * it stays open to the end. Lines of other kinds (the nemesis, remarks) are passed over.
 *
 * Not here: the decision (checker.ts).
 */
import { checkLinearizable, type Operation, type Verdict } from './checker.js';
import { type RegisterAction, type RegisterValue, registerModel, type TextAction, textModel } from './models.js';

/** Whether the history in a file's text is linearizable; its form is told by its content. */
export function judgeHistory(text: string): Verdict {
  const firstLine = text.split('\n').find(line => line.trim() !== '') ?? '';
  if (firstLine.trim().startsWith('{')) return checkLinearizable(textModel, readTextHistory(text));
  return checkLinearizable(registerModel, readRegisterHistory(text));
}

type EventType = 'invoke' | 'ok' | 'fail' | 'info';

interface RecordedEvent {
  readonly process: number;
  readonly type: EventType;
  readonly verb: string;
  readonly key: string;
  readonly value: string;
}

const registerLine = /(?:^|\s)(\d+)\s+:(invoke|ok|fail|info)\s+:(read|write|cas)\s+(\[[^\]]*\]|\S+)/;

function readRegisterHistory(text: string): Operation<RegisterAction>[] {
  const events = text.split('\n').flatMap((line): RecordedEvent[] => {
    const match = registerLine.exec(line);
    if (!match) return [];
    return [{ process: Number(match[1]), type: eventType(match[2]!), verb: match[3]!, key: '', value: match[4]! }];
  });
  return pairUp(events, registerAction);
}

function registerAction(call: RecordedEvent, end: RecordedEvent | undefined): RegisterAction | undefined {
  const type = end?.type ?? 'info';
  switch (call.verb) {
    case 'read':
      if (type === 'fail') return undefined;
      return { kind: 'read', value: type === 'ok' ? registerValue(end!.value) : undefined, unknown: type !== 'ok' };
    case 'write':
      return type === 'fail' ? undefined : { kind: 'write', value: registerValue(call.value) };
    default: {
      const [from = 'nil', to = 'nil'] = call.value
        .replace(/[[\]]/g, '')
        .trim()
        .split(/[\s,]+/);
      const outcome = type === 'ok' ? 'swapped' : type === 'fail' ? 'differed' : 'unknown';
      return { kind: 'cas', from: registerValue(from), to: registerValue(to), outcome };
    }
  }
}

function registerValue(text: string): RegisterValue {
  return text === 'nil' ? undefined : Number(text);
}

function readTextHistory(text: string): Operation<TextAction>[] {
  const events = text.split('\n').flatMap((line): RecordedEvent[] => {
    const map = readEdnMap(line);
    const type = map.get('type');
    const process = Number(map.get('process'));
    if (type === undefined || !Number.isInteger(process)) return [];
    return [
      {
        process,
        type: eventType(type.replace(':', '')),
        verb: (map.get('f') ?? '').replace(':', ''),
        key: map.get('key') ?? '',
        value: map.get('value') ?? '',
      },
    ];
  });
  return pairUp(events, textAction);
}

function textAction(call: RecordedEvent, end: RecordedEvent | undefined): TextAction | undefined {
  const type = end?.type ?? 'info';
  if (type === 'fail') return undefined;
  switch (call.verb) {
    case 'get':
      return { kind: 'get', value: end?.value === 'nil' ? '' : (end?.value ?? ''), unknown: type !== 'ok' };
    case 'put':
      return { kind: 'put', value: call.value };
    case 'append':
      return { kind: 'append', value: call.value };
    default:
      throw new Error(`Cannot read the history: unknown operation ":${call.verb}"`);
  }
}

const ednPair = /:([\w-]+)\s+("(?:[^"\\]|\\.)*"|:[\w-]+|[^\s,}]+)/g;

/** The pairs of a flat EDN map; strings lose their quotes, everything else stays text. */
function readEdnMap(line: string): ReadonlyMap<string, string> {
  const pairs = new Map<string, string>();
  for (const [, key, value] of line.matchAll(ednPair))
    pairs.set(key!, value!.startsWith('"') ? JSON.parse(value!) : value!);
  return pairs;
}

function eventType(text: string): EventType {
  if (text === 'invoke' || text === 'ok' || text === 'fail' || text === 'info') return text;
  throw new Error(`Cannot read the history: unknown event ":${text}"`);
}

/** Joins each call with what ended it. `action` gives undefined for what certainly did not happen. */
function pairUp<Action>(
  events: readonly RecordedEvent[],
  action: (call: RecordedEvent, end: RecordedEvent | undefined) => Action | undefined,
): Operation<Action>[] {
  const open = new Map<number, { readonly call: RecordedEvent; readonly calledAt: number }>();
  const operations: Operation<Action>[] = [];
  const close = (
    from: { readonly call: RecordedEvent; readonly calledAt: number },
    end: RecordedEvent | undefined,
    time: number,
  ) => {
    const done = action(from.call, end);
    if (done !== undefined)
      operations.push({
        process: from.call.process,
        key: from.call.key,
        action: done,
        calledAt: from.calledAt,
        returnedAt: time,
      });
  };
  events.forEach((event, time) => {
    const before = open.get(event.process);
    if (event.type === 'invoke') {
      if (before) close(before, undefined, Number.POSITIVE_INFINITY);
      open.set(event.process, { call: event, calledAt: time });
      return;
    }
    if (!before) return;
    open.delete(event.process);
    close(before, event.type === 'info' ? undefined : event, event.type === 'info' ? Number.POSITIVE_INFINITY : time);
  });
  for (const left of open.values()) close(left, undefined, Number.POSITIVE_INFINITY);
  return operations;
}
