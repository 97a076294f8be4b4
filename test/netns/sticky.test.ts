import t from 'tap';
import { stickyPlaces } from '../../src/netns/sticky.js';

const backends = (count: number): string[] => Array.from({ length: count }, (_, at) => `10.0.1.${at + 11}`);

t.test('a backend that goes takes its own clients with it and no clients of others', async t => {
  const before = stickyPlaces(backends(4));
  const after = stickyPlaces(backends(4).filter(one => one !== '10.0.1.12'));
  t.equal(after.length, before.length);
  for (const [place, backend] of before.entries()) {
    if (backend !== '10.0.1.12') t.equal(after[place], backend, `place ${place}`);
    else t.not(after[place], backend, `place ${place}`);
  }
});

t.test('each backend has its share, the order of the list plays no part', async t => {
  t.same(stickyPlaces([]), []);
  for (const count of [1, 2, 3, 5, 20]) {
    const places = stickyPlaces(backends(count));
    t.same(places, stickyPlaces(backends(count).reverse()));
    const shares = backends(count).map(one => places.filter(place => place === one).length);
    const fair = places.length / count;
    t.ok(Math.min(...shares) >= fair / 3 && Math.max(...shares) <= fair * 2, `${count} backends: ${shares.join(' ')}`);
  }
});
