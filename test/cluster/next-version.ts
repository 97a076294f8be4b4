/**
 * The versions of the covey after this one, for a test: it speaks this one's protocols too, and configs are new in it. Takes the
 * place of src/version.ts in the daemon that next-daemon.ts builds.
 */
import * as present from '../../src/version.js';

export { dataFormat, type ProtocolRange, writtenAtMs } from '../../src/version.js';

export const version = '0.2.0';
export const sessionProtocols: present.ProtocolRange = { min: 1, max: present.sessionProtocols.max + 1 };
export const peerProtocols: present.ProtocolRange = { min: 1, max: present.peerProtocols.max + 1 };
export const schemaVersion = present.schemaVersion + 1;
export const schemaSince: Readonly<Partial<Record<string, number>>> = { config: schemaVersion };
