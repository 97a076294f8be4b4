/**
 * What the resolver of this node was asked since the daemon started, in one line. Pure.
 *
 * Called by doctor.ts. Not here: counting (netns/dns).
 */
import type { Finding } from '../../gen/types.js';

/** None before the first question. */
export function judgeResolver(counters: ReadonlyMap<string, number>): readonly Finding[] {
  const count = (name: string): number => counters.get(`dns_${name}_total`) ?? 0;
  const questions = count('questions');
  if (questions === 0) return [];
  const [answered, failed, refused] = ['answered', 'failed', 'refused'].map(name => count(`upstream_${name}`));
  const text = `resolver: ${questions} questions since the start, ${answered} answered by resolvers outside, ${failed} not, ${refused} over the limits, ${count('broken')} broken`;
  return [{ level: 'ok', code: '', message: text, hint: '' }];
}
