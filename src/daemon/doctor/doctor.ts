/**
 * `covey doctor`: all findings about this host, and what covey changed on it.
 *
 * Called by the Local service. Not here: the parts that find (probes.ts, tasks/runtime, netns).
 */
import type { Finding } from '../../gen/types.js';
import type { Telemetry } from '../../telemetry.js';
import { judgeHost } from './findings.js';
import { gatherFacts, type ProbeOptions } from './probes.js';
import { judgeResolver } from './resolver-finding.js';

export interface DoctorParts extends ProbeOptions {
  readonly telemetry: Telemetry;
  /** What the container runtime's self-test found, and what is known of user namespaces. */
  readonly runtimeFindings: () => Promise<readonly Finding[]>;
  /** Of this machine as a node; none without a cluster. */
  readonly nodeFindings: () => readonly Finding[];
  /** What covey changed on this host, a line each. */
  readonly changes: () => readonly string[];
}

export interface Doctor {
  readonly examine: () => Promise<readonly Finding[]>;
  readonly changes: () => readonly string[];
}

export function makeDoctor(parts: DoctorParts): Doctor {
  return {
    examine: async () => {
      const host = judgeHost(await gatherFacts(parts));
      const standing = parts.telemetry
        .warnings()
        .map(({ code, message, hint }) => ({ level: 'warn', code, message, hint }) as const);
      const known = new Set(host.map(finding => finding.code));
      const resolver = judgeResolver(parts.telemetry.counters());
      const found = [...host, ...(await parts.runtimeFindings()), ...parts.nodeFindings(), ...resolver];
      return [...found, ...standing.filter(finding => !known.has(finding.code))];
    },
    changes: parts.changes,
  };
}
