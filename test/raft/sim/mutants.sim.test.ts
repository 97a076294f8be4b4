/**
 * A checker that notices nothing proves nothing: a few broken cores, each caught within a few seeds.
 * `npm run mutants` hunts all of them and prints the table.
 */
import t from 'tap';
import { hunt, mutants } from './mutants.js';

const quick = [
  'does not store its vote',
  'votes twice',
  'before its first commit',
  'keeps a conflicting tail',
  'before its own vote',
  'does not sync the log',
];

/** Needs a crash between two writes: whether that comes early is the luck of the seeds. */
const rare = 'before its own vote';

for (const part of quick) {
  const mutant = mutants.find(({ name }) => name.includes(part))!;
  t.test(`noticed: a member that ${mutant.name}`, { timeout: 600_000 }, async t => {
    const seeds = part === rare ? 600 : 60;
    const { seed, violation } = await hunt(mutant, seeds);
    t.ok(seed !== undefined, violation ?? `not noticed in ${seeds} seeds`);
  });
}
