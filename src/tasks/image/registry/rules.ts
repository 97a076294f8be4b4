/**
 * What the administrator of a node says about registries: mirrors, certificates, which of them may be spoken to without TLS,
 * which never. A YAML file (`registries.yaml`), read anew at each pull. Pure.
 *
 *     registries:
 *       - prefix: docker.io            # a host, or "host/part of the name"; the longest that fits counts
 *         location: hub.site:5000/hub  # go there instead of to the host of the name
 *         ca: /etc/covey/site-ca.pem   # besides the authorities of the system and of certs.d (../registry-files.ts); cert and
 *                                      # key for a client certificate
 *         insecure: true               # certificates are not checked, and HTTP is spoken where there is no TLS
 *         blocked: true                # never pull from here
 *         mirrors:                     # asked first, in this order; each with location, ca, cert, key, insecure
 *           - location: mirror.site:5000/hub
 *
 * Not here: what becomes of them for one image (endpoints.ts).
 */
import { parseDocument } from 'yaml';
import { CoveyError, messageOf } from '../../../errors.js';
import { type JsonPlace, objectsAt, parseJson, textAt } from '../json.js';

export interface PlaceRule {
  /** "host[:port][/part of the name]". */
  readonly location: string;
  readonly insecure: boolean;
  /** Paths of PEM files; empty: none. */
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export interface RegistryRule extends PlaceRule {
  readonly prefix: string;
  readonly blocked: boolean;
  readonly mirrors: readonly PlaceRule[];
}

const placeKeys = ['location', 'insecure', 'ca', 'cert', 'key'];
const ruleKeys = ['prefix', 'blocked', 'mirrors', ...placeKeys];
const placeForm = /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?(?:\/[a-z0-9._/-]+)?$/;

/** Throws bad-config. */
export function parseRules(path: string, text: string): readonly RegistryRule[] {
  try {
    const document = parseDocument(text, { uniqueKeys: true });
    const [problem] = document.errors;
    if (problem !== undefined) throw new CoveyError('bad-config', problem.message.split('\n')[0] ?? '');
    const value: unknown = document.toJS({ maxAliasCount: 100 });
    const root = parseJson('the file', JSON.stringify(value ?? {}));
    checkKeys(root, ['registries']);
    return objectsAt(root, 'registries').map(parseRule);
  } catch (cause) {
    throw new CoveyError('bad-config', `Cannot use the rules for registries in "${path}": ${messageOf(cause)}`);
  }
}

function parseRule(place: JsonPlace): RegistryRule {
  checkKeys(place, ruleKeys);
  const prefix = textAt(place, 'prefix') ?? '';
  if (!placeForm.test(prefix)) throw wrong(place, `"prefix" is a host, or a host and a part of the name`);
  return {
    ...parsePlace(place, prefix),
    prefix,
    blocked: flagAt(place, 'blocked'),
    mirrors: objectsAt(place, 'mirrors').map(mirror => {
      checkKeys(mirror, placeKeys);
      return parsePlace(mirror, '');
    }),
  };
}

function parsePlace(place: JsonPlace, locationDefault: string): PlaceRule {
  const location = textAt(place, 'location') ?? locationDefault;
  if (!placeForm.test(location)) throw wrong(place, '"location" is host[:port][/part of the name], without a scheme');
  const [ca = '', cert = '', key = ''] = ['ca', 'cert', 'key'].map(name => textAt(place, name) ?? '');
  if ([ca, cert, key].some(file => file !== '' && !file.startsWith('/')))
    throw wrong(place, 'certificates are named by absolute paths');
  if ((cert === '') !== (key === '')) throw wrong(place, '"cert" and "key" belong together');
  return { location, insecure: flagAt(place, 'insecure'), ca, cert, key };
}

function flagAt(place: JsonPlace, key: string): boolean {
  const value = place.value[key] ?? false;
  if (typeof value === 'boolean') return value;
  throw wrong(place, `"${key}" is true or false`);
}

function checkKeys(place: JsonPlace, known: readonly string[]): void {
  const unknown = Object.keys(place.value).find(key => !known.includes(key));
  if (unknown !== undefined) throw wrong(place, `"${unknown}" is not known; ${known.join(', ')} are`);
}

function wrong(place: JsonPlace, why: string): CoveyError {
  return new CoveyError('bad-config', `${place.what}: ${why}`);
}

/** The rule with the longest prefix of "host/repository". */
export function findRule(rules: readonly RegistryRule[], name: string): RegistryRule | undefined {
  return rules
    .filter(({ prefix }) => name === prefix || name.startsWith(`${prefix}/`))
    .sort((a, b) => b.prefix.length - a.prefix.length)[0];
}
