/**
 * Identities: 25 characters of base36 (128 random bits), branded so that a task's id is never taken for a node's.
 *
 * Only this file and the wire codecs mint branded ids.
 *
 * Not here: names that people give (specs), short forms for display (cli/output).
 */

declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

export type ClusterId = Branded<'ClusterId'>;
export type NodeId = Branded<'NodeId'>;
export type ServiceId = Branded<'ServiceId'>;
export type TaskId = Branded<'TaskId'>;
export type NetworkId = Branded<'NetworkId'>;
export type SecretId = Branded<'SecretId'>;
export type ConfigId = Branded<'ConfigId'>;
export type JoinTokenId = Branded<'JoinTokenId'>;

const idLength = 25;

/** Source of random bytes, as Host offers it. */
export type RandomBytes = (sizeBytes: number) => Uint8Array;

/** A new id from 16 random bytes: their value in base 36, padded on the left. */
export function newId<Id extends string>(randomBytes: RandomBytes): Id {
  let value = 0n;
  for (const byte of randomBytes(16)) value = (value << 8n) | BigInt(byte);
  return value.toString(36).padStart(idLength, '0') as Id;
}

/** Whether text has the form of an id. */
export function isId(text: string): boolean {
  return /^[0-9a-z]{25}$/.test(text);
}

/** Text that is known to be an id of that kind: from a codec, or a key of the store. */
export function asId<Id extends string>(text: string): Id {
  return text as Id;
}
