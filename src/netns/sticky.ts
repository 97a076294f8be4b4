/**
 * Which backend a client is held to: the client's address chooses one of a number of places, the same on every node, and each
 * place belongs to the backend that has the highest score for it. So a backend that goes takes only its own clients with it,
 * and one that comes takes from each of the others as many as it needs.
 *
 * Pure; called by wanted.ts. Not here: the choice of the place, which packet rules make (nft/skeleton.ts).
 */

const placesMin = 64;
const placesPerBackend = 16;

/** The backend of each place; as many places as a power of two. */
export function stickyPlaces(backends: readonly string[]): string[] {
  if (backends.length === 0) return [];
  let count = placesMin;
  while (count < backends.length * placesPerBackend) count *= 2;
  return Array.from({ length: count }, (_, place) => bestFor(place, backends));
}

function bestFor(place: number, backends: readonly string[]): string {
  let best = '';
  let highest = -1;
  for (const backend of backends) {
    const score = scoreOf(`${backend}/${place}`);
    if (score > highest || (score === highest && backend < best)) {
      best = backend;
      highest = score;
    }
  }
  return best;
}

/** FNV-1a, then the last mixing of MurmurHash3: texts that differ in one character score as if they had nothing in common. */
function scoreOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
