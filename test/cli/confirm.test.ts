import t from 'tap';
import { confirm } from '../../src/cli/confirm.js';
import { openContext } from '../../src/cli/context.js';
import { readFlags } from '../../src/cli/flags.js';
import { CoveyError } from '../../src/errors.js';
import { type FakeConsole, fakeConsole } from './fake-console.js';

const question = { what: 'remove stack "shop"', losses: ['2 services with 5 running tasks'] };

async function ask(console: FakeConsole, yes = false): Promise<string> {
  const flags = readFlags(new Map(yes ? [['yes', true]] : []));
  try {
    await confirm(openContext(console, { flags, signal: new AbortController().signal }), flags, question);
    return 'meant';
  } catch (error) {
    if (error instanceof CoveyError) return error.code;
    throw error;
  }
}

const terminal = { rows: 24, columns: 80 };

t.test('what destroys is asked about on a terminal, with what is lost', async t => {
  const console = fakeConsole({ terminal, input: ['y', 'es\n'] });
  t.equal(await ask(console), 'meant');
  t.equal(console.out(), '  2 services with 5 running tasks\nRemove stack "shop"? [y/N] ');
});

t.test('anything but yes means no', async t => {
  for (const input of ['\n', 'n\n', 'yep\n', 'no\n', ''])
    t.equal(await ask(fakeConsole({ terminal, input: [input] })), 'cancelled', input);
});

t.test('a script has to say --yes', async t => {
  t.equal(await ask(fakeConsole({ input: ['y\n'] })), 'bad-argument');
  t.equal(await ask(fakeConsole(), true), 'meant');
  const dumb = fakeConsole({ terminal, env: { TERM: 'dumb' }, input: ['y\n'] });
  t.equal(await ask(dumb), 'bad-argument');
});
