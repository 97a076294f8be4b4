import t from 'tap';
import { completionScript, planCompletion } from '../../src/cli/completion.js';
import { commandTree } from '../../src/cli/tree.js';

t.test('completion offers commands, options, values and names', async t => {
  const rows: readonly (readonly [readonly string[], object])[] = [
    [['se'], { kind: 'words', beginning: 'se', words: /service/ }],
    [['service', ''], { kind: 'words', words: /create/ }],
    [['service', 'inspect', 'w'], { kind: 'names', object: 'service', beginning: 'w' }],
    [['exec', '-i', ''], { kind: 'names', object: 'task' }],
    [['exec', '-u', 'root', ''], { kind: 'names', object: 'task' }],
    [['exec', 'web.1', ''], { kind: 'words', words: '' }],
    [['node', 'update', '--availability', ''], { kind: 'words', words: /active,pause,drain/ }],
    [['stack', 'deploy', '-c', ''], { kind: 'file' }],
    [['stack', 'deploy', '-c', 'x.yaml', ''], { kind: 'names', object: 'stack' }],
    [['image', 'rm', 'a', ''], { kind: 'names', object: 'image' }],
    [['node', 'ls', '--fo'], { kind: 'words', words: /--format/ }],
    [['service', 'create', '--network', ''], { kind: 'names', object: 'network' }],
  ];
  for (const [words, expected] of rows) {
    const plan = planCompletion(commandTree, words);
    t.match(plan.kind === 'words' ? { ...plan, words: plan.words.join(',') } : plan, expected, words.join(' '));
  }
  t.notMatch(planCompletion(commandTree, ['']), { words: ['__complete'] });
});

t.test('the scripts ask the program that they complete', async t => {
  for (const shell of ['bash', 'zsh', 'fish'] as const) t.match(completionScript(shell), /__complete/, shell);
});
