/**
 * Credentials that come with a service, for the nodes that pull its images: kept as a secret under the id of the service, which
 * no list shows, and which goes when the service has gone (orchestrate/reap.ts).
 *
 * Keeps true: the spec says nothing of them, so that a new password replaces no task, and no answer carries them.
 *
 * Called by services.ts and stack-plan.ts. Not here: who is sent them (dispatcher/assignments.ts), pulls (tasks/image).
 */
import { createHash } from 'node:crypto';
import { asId, type SecretId, type ServiceId } from '../../ids.js';
import type { View, Write } from '../../raft/store.js';
import { parseCredentials } from '../../tasks/image/registry/credentials.js';
import { refuseAt } from './check.js';

const authMaxBytes = 65_536;

/** `text` undefined: as it was. No entries in it: those that were there are worth nothing from now on. */
export function writesOfAuth(view: View, serviceId: ServiceId, text: string | undefined): readonly Write[] {
  if (text === undefined) return [];
  const data = hasEntries(text) ? Buffer.from(text) : Buffer.alloc(0);
  const old = view.find('secret', serviceId);
  const digest = createHash('sha256').update(data).digest();
  if (old === undefined ? data.length === 0 : Buffer.compare(old.digest, digest) === 0) return [];
  // With nothing in it rather than deleted: nodes are told of it, as of any other content.
  const spec = { name: `registry credentials of ${serviceId}`, labels: {}, stack: '' };
  return [
    { kind: 'put', table: 'secret', object: { id: asId<SecretId>(serviceId), spec, data, digest, pullFor: serviceId } },
  ];
}

function hasEntries(text: string): boolean {
  const refuse = refuseAt('registryAuth');
  if (Buffer.byteLength(text) > authMaxBytes) refuse(`it has more than ${authMaxBytes} bytes`);
  try {
    return parseCredentials('the credentials', text).size > 0;
  } catch {
    return refuse('it is not in the form of a Docker configuration'); // not the parser's words: they quote what is secret
  }
}
