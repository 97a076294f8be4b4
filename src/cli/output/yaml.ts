/**
 * YAML for people. A module of its own, so that the library is loaded only when it is asked for: loaded late directly, the
 * bundled package would offer its default export alone.
 */
import { stringify } from 'yaml';

export function renderYaml(value: unknown): string {
  return stringify(value, { lineWidth: 0 });
}
