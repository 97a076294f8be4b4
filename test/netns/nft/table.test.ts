import t from 'tap';
import { CoveyError } from '../../../src/errors.js';
import type { NetlinkSocket, NftContext } from '../../../src/host.js';
import { attribute, encodeMessage, u32be } from '../../../src/netns/netlink/message.js';
import type { ElementSets } from '../../../src/netns/nft/model.js';
import { choiceChain, fabricSkeleton, type Skeleton, versionOf } from '../../../src/netns/nft/skeleton.js';
import { openRuleTable } from '../../../src/netns/nft/table.js';

/** libnftables and the kernel behind it, as far as a table goes: what is run is kept, lists come from `listing`. */
function fakeKernel() {
  const state = { generation: 1, ran: [] as string[], listing: undefined as string | undefined, refuse: false };
  const nft: NftContext = {
    run: async commands => {
      if (commands.startsWith('list')) {
        if (state.listing === undefined) throw new CoveyError('nftables-refused', 'Cannot list: no such table');
        return state.listing;
      }
      if (state.refuse) throw new CoveyError('nftables-refused', 'Cannot change the packet rules');
      state.ran.push(commands);
      state.generation += 1;
      return '';
    },
    runSync: () => '',
    [Symbol.dispose]: () => undefined,
  };
  const netfilter: NetlinkSocket = {
    talk: () => [
      encodeMessage(
        {
          type: (10 << 8) | 15,
          flags: 0,
          payload: Buffer.concat([Buffer.alloc(4), attribute(1, u32be(state.generation))]),
        },
        1,
      ),
    ],
    [Symbol.dispose]: () => undefined,
  };
  return { state, nft, netfilter };
}

const skeleton: Skeleton = fabricSkeleton('covey');

function listingOf(
  elements: Record<string, unknown[]>,
  tamper: (items: object[]) => object[] = items => items,
): string {
  const items: object[] = [
    { set: { name: versionOf(skeleton), type: 'mark' } },
    ...Object.entries(skeleton.sets).map(([name, declaration]) => {
      const kind = declaration.startsWith('map') ? 'map' : 'set';
      return { [kind]: { name, ...(kind === 'map' ? { map: 'x' } : {}), elem: elements[name] ?? [] } };
    }),
    ...[...skeleton.chains, choiceChain('pick1')].flatMap(chain => [
      { chain: { name: chain.name } },
      ...chain.rules.map(() => ({ rule: { chain: chain.name } })),
    ]),
  ];
  return JSON.stringify({ nftables: tamper(items) });
}

const wanted: ElementSets = Object.fromEntries([
  ...Object.keys(skeleton.sets).map(name => [name, new Map<string, string>()] as const),
  ['vips', new Map([['10.0.1.200', 'goto pick1']])],
  ['backends', new Map([['10.0.1.200 . 0', '10.0.1.5']])],
]);
const asListed = {
  vips: [['10.0.1.200', { goto: { target: 'pick1' } }]],
  backends: [[{ concat: ['10.0.1.200', 0] }, '10.0.1.5']],
};

t.test('a missing table is made with all elements in one transaction', async t => {
  const { state, nft, netfilter } = fakeKernel();
  const table = openRuleTable({ nft, netfilter, skeleton });
  await table.apply(wanted);
  t.equal(state.ran.length, 1);
  t.match(state.ran[0], /^add table inet covey\ndelete table inet covey\nadd table inet covey\n/);
  t.match(state.ran[0], 'add element inet covey backends { 10.0.1.200 . 0 : 10.0.1.5 }');
  await table.apply(wanted);
  t.equal(state.ran.length, 1, 'and nothing is done again');
});

t.test('a table that is as wanted is taken over untouched', async t => {
  const { state, nft, netfilter } = fakeKernel();
  state.listing = listingOf(asListed);
  const table = openRuleTable({ nft, netfilter, skeleton });
  t.same(await table.check(wanted), []);
  t.same(state.ran, []);
});

t.test('elements that differ are mended by themselves, a table that was tampered with is replaced', async t => {
  const { state, nft, netfilter } = fakeKernel();
  state.listing = listingOf({ vips: asListed.vips });
  const table = openRuleTable({ nft, netfilter, skeleton });
  t.same(await table.check(wanted), ['elements of table inet covey mended']);
  t.same(state.ran, ['add element inet covey backends { 10.0.1.200 . 0 : 10.0.1.5 }\n']);
  for (const tamper of [
    (items: object[]) => items.slice(0, -1),
    (items: object[]) => items.slice(1),
    (items: object[]) => [...items, { chain: { name: 'foreign' } }],
    (items: object[]) => items.filter(item => !('map' in item)),
  ]) {
    state.ran = [];
    state.generation += 1;
    state.listing = listingOf(asListed, tamper);
    t.same(await table.check(wanted), ['packet rules of table inet covey made anew']);
    t.equal(state.ran.length, 1);
  }
});

t.test('rules are listed again only when somebody changed something', async t => {
  const { state, nft, netfilter } = fakeKernel();
  state.listing = listingOf(asListed);
  const table = openRuleTable({ nft, netfilter, skeleton });
  await table.check(wanted);
  state.listing = listingOf({});
  t.same(await table.check(wanted), [], 'the kernel says that nothing changed');
  state.generation += 1;
  t.same(await table.check(wanted), ['elements of table inet covey mended']);
});

t.test('after a refused change the table is looked at again before the next', async t => {
  const { state, nft, netfilter } = fakeKernel();
  state.listing = listingOf(asListed);
  const table = openRuleTable({ nft, netfilter, skeleton });
  await table.check(wanted);
  state.refuse = true;
  const more = { ...wanted, internal: new Map([['10.0.3.0/24', '']]) };
  await t.rejects(table.apply(more), { code: 'nftables-refused' });
  state.refuse = false;
  await table.apply(more);
  t.same(state.ran, ['add element inet covey internal { 10.0.3.0/24 }\n']);
});

t.test('a choice that no service needed yet is made with the change that needs it', async t => {
  const { state, nft, netfilter } = fakeKernel();
  state.listing = listingOf(asListed);
  const table = openRuleTable({ nft, netfilter, skeleton });
  await table.apply({ ...wanted, vips: new Map([['10.0.1.200', 'goto pick2']]) });
  t.match(state.ran[0], /^add chain inet covey pick2\nadd rule inet covey pick2 meta mark set numgen random mod 2\n/);
});

t.test('a choice that no service needs any more goes with the next check, and is made again when one does', async t => {
  const { state, nft, netfilter } = fakeKernel();
  const isChoice = (item: object) => JSON.stringify(item).includes('"pick1"');
  const { vips: _vips, ...othersListed } = asListed;
  const others: ElementSets = { ...wanted, vips: new Map() };
  state.listing = listingOf(othersListed);
  const table = openRuleTable({ nft, netfilter, skeleton });
  await table.check(others);
  t.same(state.ran, ['delete chain inet covey pick1\n']);
  state.listing = listingOf(othersListed, items => items.filter(item => !isChoice(item)));
  await table.check(others);
  t.equal(state.ran.length, 1, 'once');
  await table.apply(wanted);
  t.match(state.ran[1], /^add chain inet covey pick1\n/);
});
