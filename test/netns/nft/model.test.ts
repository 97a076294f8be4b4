import fc from 'fast-check';
import t from 'tap';
import { choicesOf, type ElementSets, planElements, renderChanges } from '../../../src/netns/nft/model.js';

const sets = (object: Record<string, Record<string, string>>): ElementSets =>
  Object.fromEntries(Object.entries(object).map(([name, elements]) => [name, new Map(Object.entries(elements))]));

t.test('one backend more is two places and one other choice, nothing else', async t => {
  const before = sets({
    vips: { '10.0.1.200': 'goto pick1', '10.0.1.201': 'goto pick1' },
    backends: { '10.0.1.200 . 0': '10.0.1.5', '10.0.1.201 . 0': '10.0.1.9' },
  });
  const after = sets({
    vips: { '10.0.1.200': 'goto pick2', '10.0.1.201': 'goto pick1' },
    backends: { '10.0.1.200 . 0': '10.0.1.5', '10.0.1.200 . 1': '10.0.1.6', '10.0.1.201 . 0': '10.0.1.9' },
  });
  t.equal(
    renderChanges('inet covey', planElements(after, before)),
    'delete element inet covey vips { 10.0.1.200 }\n' +
      'add element inet covey vips { 10.0.1.200 : goto pick2 }\n' +
      'add element inet covey backends { 10.0.1.200 . 1 : 10.0.1.6 }\n',
  );
  t.same(choicesOf(after), new Set(['pick2', 'pick1']));
});

t.test('nothing to change is no transaction', async t => {
  const same = sets({ vips: { a: 'b' } });
  t.same(planElements(same, same), []);
  t.equal(renderChanges('inet covey', []), '');
});

t.test('names of links are quoted, since nft has words of its own', async t => {
  const wanted = {
    uplinks: { eth0: '', 'eth0.100': '' },
    within: { 'tcp . tcp': '' },
    published: { 'tcp . 80': '' },
  };
  t.equal(
    renderChanges('inet covey', planElements(sets(wanted), {})),
    'add element inet covey uplinks { "eth0", "eth0.100" }\nadd element inet covey within { "tcp" . "tcp" }\n' +
      'add element inet covey published { tcp . 80 }\n',
  );
});

t.test('from any state to any other: applying the changes gives the wanted state', async () => {
  const elements = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd'), fc.constantFrom('', 'x', 'y'));
  fc.assert(
    fc.property(elements, elements, (from, to) => {
      const state = new Map<string, string>(Object.entries(from));
      for (const { removed, added } of planElements(sets({ s: to }), sets({ s: from }))) {
        for (const key of removed) if (!state.delete(key)) return false;
        for (const [key, value] of added) {
          if (state.has(key)) return false;
          state.set(key, value);
        }
      }
      return JSON.stringify([...state].sort()) === JSON.stringify(Object.entries(to).sort());
    }),
  );
});
