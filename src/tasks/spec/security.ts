/**
 * Security options and devices in Docker's words: "seccomp=unconfined", "no-new-privileges", "/dev/fuse:/dev/fuse:rw".
 *
 * A seccomp profile is named by its path in files and flags, and travels in the spec as its JSON: `inlineProfile` does that
 * step for whoever can read files. Pure.
 *
 * Used by the command line, stack files, the control API's check and the node. Not here: what a profile says
 * (runtime/seccomp-profile.ts), what the kernel can do (runtime/lsm.ts), devices of the machine (runtime/devices.ts).
 */
import { bad, ok, type Parsed } from './values.js';

/** All that the options of one container say. */
export interface SecurityOptions {
  /** Undefined: the default filter. A text: a profile, as JSON. */
  readonly seccomp: 'unconfined' | { readonly profile: string } | undefined;
  /** A profile's name, or "unconfined". Undefined: the node's default. */
  readonly apparmor: string | undefined;
  /** SELinux: "disable", or any of user:, role:, type:, level:, filetype:, nested. */
  readonly labels: readonly string[];
  readonly noNewPrivileges: boolean;
  /** No path of /proc and /sys is masked or read-only. */
  readonly bareSystemPaths: boolean;
}

const plain: SecurityOptions = {
  seccomp: undefined,
  apparmor: undefined,
  labels: [],
  noNewPrivileges: false,
  bareSystemPaths: false,
};

const valid =
  'seccomp=unconfined|FILE, apparmor=PROFILE|unconfined, label=disable|type:TYPE|level:LEVEL…, ' +
  'no-new-privileges[=true|false] or systempaths=unconfined';
const profileMaxBytes = 256 * 1_024;

/** The later of two words about one thing counts. */
export function parseSecurityOptions(texts: readonly string[]): Parsed<SecurityOptions> {
  let options = plain;
  for (const text of texts) {
    const changed = withOption(options, text);
    if (changed.kind === 'bad') return changed;
    options = changed.value;
  }
  return ok(options);
}

function withOption(options: SecurityOptions, text: string): Parsed<SecurityOptions> {
  const [, key = text, value = ''] = /^([a-z-]+)[=:]([\s\S]*)$/u.exec(text) ?? [];
  switch (key) {
    case 'seccomp':
      return withSeccomp(options, value);
    case 'apparmor':
      return /^[\w.+/:-]{1,200}$/u.test(value) ? ok({ ...options, apparmor: value }) : bad('the name of a profile');
    case 'label':
      return withLabel(options, value);
    case 'no-new-privileges':
      if (value !== '' && value !== 'true' && value !== 'false') return bad('no-new-privileges=true or =false');
      return ok({ ...options, noNewPrivileges: value !== 'false' });
    case 'systempaths':
      return value === 'unconfined' ? ok({ ...options, bareSystemPaths: true }) : bad('systempaths=unconfined');
    default:
      return bad(valid);
  }
}

function withSeccomp(options: SecurityOptions, value: string): Parsed<SecurityOptions> {
  if (value === 'unconfined') return ok({ ...options, seccomp: value });
  if (value === 'builtin') return ok({ ...options, seccomp: undefined });
  if (!value.startsWith('{')) return bad('seccomp=unconfined, or the path of a profile in JSON');
  if (value.length > profileMaxBytes) return bad(`a seccomp profile of at most ${profileMaxBytes / 1_024} KiB`);
  return ok({ ...options, seccomp: { profile: value } });
}

const labelForm = /^(?:disable|nested|(?:user|role|type|filetype):[\w.-]{1,128}|level:[\w.:,-]{1,128})$/u;

function withLabel(options: SecurityOptions, value: string): Parsed<SecurityOptions> {
  if (!labelForm.test(value)) return bad('label=disable, or label=user:, role:, type:, level: or filetype: and a name');
  return ok({ ...options, labels: [...options.labels, value] });
}

/** "seccomp=FILE" with the file's content in the place of its path; any other option as it is. */
export function inlineProfile(text: string, findFile: (path: string) => Uint8Array | undefined): Parsed<string> {
  const path = /^seccomp[=:](?!unconfined$|builtin$|\{)(.+)$/u.exec(text)?.[1];
  if (path === undefined) return mapped(parseSecurityOptions([text]), text);
  const data = findFile(path);
  if (data === undefined) return bad(`a seccomp profile that can be read: there is no file "${path}"`);
  try {
    const inlined = `seccomp=${JSON.stringify(JSON.parse(new TextDecoder().decode(data)))}`;
    return mapped(parseSecurityOptions([inlined]), inlined);
  } catch {
    return bad(`a seccomp profile in JSON, which "${path}" is not`);
  }
}

function mapped<Value>(parsed: Parsed<unknown>, value: Value): Parsed<Value> {
  return parsed.kind === 'bad' ? parsed : ok(value);
}

export type DeviceRequest =
  | { readonly kind: 'path'; readonly source: string; readonly target: string; readonly access: string }
  /** The qualified name of a device of a CDI specification. */
  | { readonly kind: 'cdi'; readonly name: string };

const cdiForm =
  /^[A-Za-z](?:[\w.-]*[A-Za-z0-9])?\/[A-Za-z](?:[\w-]*[A-Za-z0-9])?=[A-Za-z0-9](?:[\w.:-]*[A-Za-z0-9])?$/u;

/** "HOST-PATH[:PATH[:rwm]]" or "vendor.com/class=name". */
export function parseDevice(text: string): Parsed<DeviceRequest> {
  if (cdiForm.test(text)) return ok({ kind: 'cdi', name: text });
  const help = 'a path such as /dev/fuse, if wanted with :PATH-INSIDE:rwm, or a CDI name such as vendor.com/gpu=0';
  const [source = '', second, third, ...more] = text.split(':');
  const clean = (path: string): boolean => /^\/dev\/[^\0]+$/u.test(path) && !path.split('/').includes('..');
  if (more.length > 0 || !/^\/[^\0]+$/u.test(source) || source.split('/').includes('..')) return bad(help);
  const isAccess = (part: string | undefined): boolean => part !== undefined && /^(?!.*(.).*\1)[rwm]{1,3}$/u.test(part);
  if (third === undefined && isAccess(second)) return deviceAt(source, source, second ?? '');
  if (third !== undefined && !isAccess(third)) return bad('access of r, w and m');
  const target = second ?? source;
  return clean(target) ? deviceAt(source, target, third ?? 'rwm') : bad('a place below /dev inside');
}

function deviceAt(source: string, target: string, access: string): Parsed<DeviceRequest> {
  return ok({ kind: 'path', source, target, access });
}

export interface DeviceRule {
  readonly type: 'a' | 'b' | 'c';
  /** undefined: all of them. */
  readonly major: number | undefined;
  readonly minor: number | undefined;
  readonly access: string;
}

const deviceNumberMax = 0xf_ffff;

/** "c 10:229 rwm": kind, numbers or stars, and what is allowed. */
export function parseDeviceRule(text: string): Parsed<DeviceRule> {
  const found = /^([abc]) (\*|\d{1,7}):(\*|\d{1,7}) (?!.*([rwm]).*\4)([rwm]{1,3})$/u.exec(text);
  const [, type, major, minor, , access = ''] = found ?? [];
  const numberOf = (part: string | undefined): number | undefined => (part === '*' ? undefined : Number(part));
  const numbers = [numberOf(major), numberOf(minor)];
  if (!isDeviceType(type) || numbers.some(number => number !== undefined && number > deviceNumberMax)) {
    return bad('a kind (c, b or a), MAJOR:MINOR with * for all, and access of r, w and m, such as "c 10:229 rwm"');
  }
  // The kernel takes a rule about all kinds of devices for one about all devices, whatever its numbers.
  if (type === 'a' && (numbers.some(number => number !== undefined) || access.length < 3)) {
    return bad('"a *:* rwm" for all devices, or rules with c and b');
  }
  return ok({ type, major: numbers[0], minor: numbers[1], access });
}

function isDeviceType(text: string | undefined): text is DeviceRule['type'] {
  return text === 'a' || text === 'b' || text === 'c';
}

export function parseUserns(text: string): Parsed<'auto' | 'host'> {
  return text === 'auto' || text === 'host' ? ok(text) : bad('auto or host');
}
