/**
 * The part of the OCI runtime specification's config.json that is written here. Names are the specification's.
 *
 * Not here: what goes into it (bundle.ts, process.ts, mounts.ts, resources.ts).
 */
import type { SeccompProfile } from '../../host.js';

export interface OciConfig {
  readonly ociVersion: '1.0.2';
  readonly process: OciProcess;
  readonly root: { readonly path: string; readonly readonly: boolean };
  readonly hostname: string;
  readonly mounts: readonly OciMount[];
  readonly annotations: Readonly<Record<string, string>>;
  readonly linux: OciLinux;
}

export interface OciProcess {
  readonly terminal: boolean;
  readonly consoleSize?: { readonly height: number; readonly width: number };
  readonly user: {
    readonly uid: number;
    readonly gid: number;
    readonly umask: number;
    readonly additionalGids: readonly number[];
  };
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly capabilities: {
    readonly bounding: readonly string[];
    readonly effective: readonly string[];
    readonly permitted: readonly string[];
    readonly inheritable: readonly string[];
    readonly ambient: readonly string[];
  };
  readonly rlimits: readonly OciRlimit[];
  readonly noNewPrivileges: boolean;
  readonly oomScoreAdj?: number;
}

export interface OciRlimit {
  /** "RLIMIT_NOFILE" and the like. */
  readonly type: string;
  /** Infinity: unlimited. */
  readonly soft: number;
  readonly hard: number;
}

export interface OciMount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

export interface OciLinux {
  readonly namespaces: readonly { readonly type: string; readonly path?: string }[];
  readonly cgroupsPath: string;
  readonly resources: OciResources;
  readonly sysctl: Readonly<Record<string, string>>;
  readonly maskedPaths: readonly string[];
  readonly readonlyPaths: readonly string[];
  readonly rootfsPropagation: 'private' | 'slave' | 'shared';
  readonly seccomp?: SeccompProfile;
}

export interface OciResources {
  readonly devices: readonly OciDeviceRule[];
  readonly memory?: { readonly limit: number; readonly swap?: number };
  readonly cpu?: { readonly quota?: number; readonly period?: number; readonly shares?: number };
  readonly pids: { readonly limit: number };
}

export interface OciDeviceRule {
  readonly allow: boolean;
  readonly access: string;
  readonly type?: 'c' | 'b';
  readonly major?: number;
  readonly minor?: number;
}

/** RLIM_INFINITY, which no JavaScript number can hold. */
const unlimited = '18446744073709551615';

export function renderConfig(value: OciConfig | OciProcess): string {
  const text = JSON.stringify(value, (_key, part: unknown) => (part === Number.POSITIVE_INFINITY ? 'unlimited' : part));
  // Quotes inside of a string are escaped, so this can only be a key and its value.
  return text.replaceAll(/"(soft|hard)":"unlimited"/g, `"$1":${unlimited}`);
}
