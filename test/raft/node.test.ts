/** The driver: outcomes, watchdogs, snapshots, restarts, on simulated machines. */
import t from 'tap';
import { nobody } from '../../src/raft/core/types.js';
import { openSmallGroup, tickUnits } from './sim/small-group.js';

const election = 10 * tickUnits;

t.test('a write through the leader is applied by all, and read back by any of them', async t => {
  const group = openSmallGroup(3);
  const leader = group.leader();
  t.match(group.write(leader, 'k', 7), { kind: 'committed', result: true });
  for (const member of group.members.values()) {
    t.match(group.read(member), { kind: 'ready' });
    t.equal(member.machine!.get('k'), 7, `member ${member.id}`);
  }
});

t.test('proposals that cannot be taken say why', async t => {
  const group = openSmallGroup(3, { proposalBytesMax: 1000, waitingProposalsMax: 2 });
  const leader = group.leader();
  const follower = [...group.members.values()].find(member => member !== leader)!;
  group.write(leader, 'k', 1);
  t.match(group.write(follower, 'k', 1), { kind: 'not-leader', leader: leader.id });
  const outcomes: unknown[] = [];
  leader.node!.propose(new Uint8Array(1001), outcome => outcomes.push(outcome));
  group.run(20);
  for (let count = 0; count < 3; count += 1)
    leader.node!.propose(Buffer.from('{"kind":"write","key":"a","value":1}'), outcome => outcomes.push(outcome));
  leader.node!.stop();
  leader.node!.propose(new Uint8Array(1), outcome => outcomes.push(outcome));
  t.match(outcomes, [
    { kind: 'too-large', sizeBytes: 1001, limitBytes: 1000 },
    { kind: 'dropped', because: 'overload' },
    { kind: 'stopped' },
    { kind: 'stopped' },
    { kind: 'stopped' },
  ]);
});

t.test('when leadership is lost on the way the outcome is unknown, never "failed"', async t => {
  const group = openSmallGroup(3);
  const leader = group.leader();
  for (const other of group.members.keys()) if (other !== leader.id) group.network.cut(leader.id, other);
  t.strictSame(group.write(leader, 'k', 1, 20 * election), { kind: 'unknown' });
});

t.test(
  'B43: a leader whose disk hangs stops beating and steps down; another leads long before the disk comes back',
  async t => {
    const group = openSmallGroup(3);
    const leader = group.leader();
    group.write(leader, 'k', 1);
    leader.stalledUntil = group.world.now() + 100 * election;
    leader.node!.propose(Buffer.from('{"kind":"write","key":"k","value":2}'), () => undefined);
    group.until('another leads', () => group.leader() !== leader, 8 * election);
    t.match(
      group.events.find(([id, event]) => id === leader.id && event.kind === 'stepped-down'),
      [leader.id, { because: 'disk' }],
    );
    t.match(group.write(group.leader(), 'k', 3), { kind: 'committed' }, 'and takes writes');
    t.not(leader.node!.status().role, 'leader');
  },
);

t.test('B43: a leader with a full disk refuses writes by name, and takes them again when there is room', async t => {
  const group = openSmallGroup(1);
  const leader = group.leader();
  leader.disk.capacityBytes = leader.disk.usedBytes();
  let value = 0;
  let outcome = group.write(leader, 'k', value);
  while (outcome?.kind === 'committed') {
    value += 1;
    outcome = group.write(leader, 'k', value);
  }
  t.strictSame(outcome, { kind: 'no-space' });
  leader.disk.capacityBytes = Number.POSITIVE_INFINITY;
  group.run(3 * election);
  t.match(group.write(leader, 'k', 99), { kind: 'committed' });
});

t.test('B48: few large entries are enough for a snapshot, and the log behind it goes', async t => {
  const group = openSmallGroup(1, { snapshotEntries: 1_000_000, snapshotBytes: 20_000, keepEntries: 0 });
  const leader = group.leader();
  const before = leader.disk.usedBytes();
  for (let count = 0; count < 200; count += 1) {
    const padded = Buffer.from(`{"kind":"write","key":"k","value":${count}}${' '.repeat(1000)}`);
    let done = false;
    leader.node!.propose(padded, () => {
      done = true;
    });
    group.until('it is applied', () => done);
  }
  t.ok(group.events.some(([, event]) => event.kind === 'snapshot' && event.phase === 'stored'));
  t.ok(
    leader.disk.usedBytes() < before + 60_000,
    `200 entries of 1 KiB leave ${leader.disk.usedBytes() - before} bytes`,
  );
});

t.test('B48: a group whose disks filled up goes on after they were given room and started anew', async t => {
  const group = openSmallGroup(3, { snapshotEntries: 1_000_000 });
  let leader = group.leader();
  for (const member of group.members.values()) member.disk.capacityBytes = member.disk.usedBytes() + 3000;
  let value = 0;
  for (; value < 500; value += 1) if (group.write(leader, 'k', value, 300)?.kind !== 'committed') break;
  t.ok(value < 500, `full after ${value} writes`);
  for (const member of group.members.values()) {
    member.kill();
    member.disk.capacityBytes = Number.POSITIVE_INFINITY;
    member.start();
  }
  leader = group.leader();
  t.match(group.write(leader, 'k', 1000, 3000), { kind: 'committed' });
});

t.test('B34: wherever a crash falls, the application stands where its applied index says', async t => {
  for (let writes = 0; writes < 40; writes += 1) {
    const group = openSmallGroup(1, { snapshotEntries: 4, keepEntries: 0 }, writes + 1);
    const [member] = group.members.values();
    group.leader();
    member!.crashAfterWrites = writes;
    for (let value = 0; value < 12 && member!.isUp; value += 1) group.write(member!, 'k', value, 60);
    member!.crash();
    member!.start();
    group.leader();
    group.until('all is applied', () => member!.node!.status().applied === member!.node!.status().lastIndex);
    // checks.onApplied and onRestored compare the running hash of every index with what was applied before the crash.
    t.equal(group.checks.violation(), undefined, `crash at write ${writes}`);
    t.match(group.write(member!, 'k', 100), { kind: 'committed' });
  }
});

t.test('B42: a member never runs on the disk of another', async t => {
  const group = openSmallGroup(3);
  group.leader();
  const [first, second] = [...group.members.values()];
  second!.kill();
  first!.kill();
  // The disk of member 1 in the machine of member 2.
  Object.defineProperty(second!, 'disk', { value: first!.disk });
  second!.start();
  t.match(group.checks.violation(), /belongs to another member/);
});

t.test('a member that joins late is brought up by a snapshot that was taken for it', async t => {
  const group = openSmallGroup(3, { snapshotEntries: 1_000_000 });
  const leader = group.leader();
  for (let value = 0; value < 20; value += 1) group.write(leader, `k${value % 3}`, value);
  const fresh = group.add(4);
  fresh.start();
  let outcome: unknown;
  leader.node!.changeMembers(
    { transition: 'auto', changes: [{ kind: 'add-learner', peer: 4 }], context: new Uint8Array(0) },
    got => {
      outcome = got;
    },
  );
  group.until('the change is in force', () => outcome !== undefined);
  t.match(outcome, { kind: 'committed' });
  group.until('it has all', () => fresh.node!.status().applied === leader.node!.status().applied);
  t.equal(fresh.machine!.chain(), leader.machine!.chain());
});

t.test('a removed leader steps down, and the others go on', async t => {
  const group = openSmallGroup(3);
  const leader = group.leader();
  leader.node!.changeMembers(
    { transition: 'auto', changes: [{ kind: 'remove', peer: leader.id }], context: new Uint8Array(0) },
    () => undefined,
  );
  group.until('another leads', () => group.leader() !== leader, 10 * election);
  t.match(group.write(group.leader(), 'k', 1), { kind: 'committed' });
  t.ok(
    group.events.some(([id, event]) => id === leader.id && event.kind === 'removed'),
    'and is told',
  );
});

t.test('leadership goes where it is asked to go', async t => {
  const group = openSmallGroup(3);
  const leader = group.leader();
  const other = [...group.members.values()].find(member => member !== leader)!;
  t.match(leader.node!.transferTo(other.id), { kind: 'started' });
  group.until('the other leads', () => group.leader() === other, election);
  group.until('its work may begin', () =>
    group.events.some(([id, event]) => id === other.id && event.kind === 'leading'),
  );
});

t.test('a leader whose event loop stood still hands its leadership over', async t => {
  const group = openSmallGroup(3);
  const leader = group.leader();
  group.write(leader, 'k', 1);
  leader.node!.tick(true);
  group.until('another leads', () => group.leader() !== leader, election);
  t.match(
    group.events.findLast(([id, event]) => id === leader.id && event.kind === 'stepped-down'),
    [leader.id, { because: 'event-loop' }],
  );
});

t.test('a snapshot that is damaged on disk is told of, and written again for the follower that needs it', async t => {
  const group = openSmallGroup(3, { snapshotEntries: 5, keepEntries: 0 });
  const leader = group.leader();
  const late = [...group.members.values()].find(member => member !== leader)!;
  late.kill();
  for (let value = 0; value < 12; value += 1) group.write(leader, 'k', value);
  group.run(100);
  const name = leader.disk.list('/raft/snap').at(-1)!;
  leader.disk.flipBit(`/raft/snap/${name}`, 700, 2);
  late.start();
  group.until('it has all', () => late.node?.status().applied === leader.node!.status().applied);
  t.ok(
    group.events.some(([id, event]) => id === leader.id && event.kind === 'snapshot' && event.phase === 'unreadable'),
  );
});

// What the simulator has found, as single situations.

t.test('a candidate with the votes of the others leads only when its own vote is on disk', async t => {
  const group = openSmallGroup(3);
  const leader = group.leader();
  group.write(leader, 'k', 1);
  const candidate = [...group.members.values()].find(member => member !== leader)!;
  group.until('it has all', () => candidate.node!.status().lastIndex === leader.node!.status().lastIndex);
  candidate.stalledUntil = group.world.now() + 60;
  leader.node!.transferTo(candidate.id);
  group.until('it asks for votes', () => candidate.node!.status().role === 'candidate', 40);
  group.run(25);
  t.equal(candidate.node!.status().role, 'candidate', 'the others have answered, its disk has not');
  group.until('it leads', () => candidate.node!.status().role === 'leader', election);
});

t.test('a single voter that starts anew answers reads only when it knows again what it had committed', async t => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const group = openSmallGroup(1, {}, seed);
    const member = group.leader();
    for (let value = 1; value <= 5; value += 1) group.write(member, 'k', value);
    const committed = group.checks.committed();
    member.crash();
    member.start();
    const indexes: number[] = [];
    group.until(
      'reads are answered',
      () => {
        member.node?.read(outcome => indexes.push(outcome.kind === 'ready' ? outcome.index : Number.POSITIVE_INFINITY));
        return indexes.length > 3;
      },
      10 * election,
    );
    t.ok(Math.min(...indexes) >= committed, `seed ${seed}: ${indexes.slice(0, 3).join(', ')} of ${committed}`);
    t.equal(member.machine!.get('k'), 5);
  }
});

t.test('an answer to a question of the process before is not taken for an answer to this one', async t => {
  const group = openSmallGroup(3);
  const leader = group.leader();
  group.write(leader, 'k', 1);
  const follower = [...group.members.values()].find(member => member !== leader)!;
  const asked: number[] = [];
  follower.node!.read(() => undefined);
  group.run(1);
  follower.kill();
  group.write(leader, 'k', 2);
  follower.start();
  group.until('it is up', () => follower.node?.core !== undefined);
  follower.node!.receive({
    kind: 'read-index-reply',
    version: 1,
    from: leader.id,
    to: follower.id,
    term: leader.node!.status().term,
    request: 1,
    index: 1,
  });
  follower.node!.read(outcome => asked.push(outcome.kind === 'ready' ? outcome.index : -1));
  group.until('it is answered', () => asked.length > 0);
  t.ok(asked[0]! >= group.checks.committed(), `${asked[0]} of ${group.checks.committed()}`);
});

t.test('a leader whose process has ended is followed by another before an election timeout is over', async t => {
  const group = openSmallGroup(3);
  const leader = group.leader();
  group.write(leader, 'k', 1);
  const others = [...group.members.values()].filter(member => member !== leader);
  const begun = group.world.now();
  leader.kill();
  // Not before its last words have come.
  for (const [at, other] of others.entries()) other.later((1 + at) * tickUnits, '', () => other.node?.ended(leader.id));
  group.until('another leads', () => others.some(member => member.node?.status().role === 'leader'));
  t.ok(group.world.now() - begun < election, `after ${group.world.now() - begun} of ${election}`);
  t.match(group.write(others.find(member => member.node?.status().role === 'leader')!, 'k', 2), { kind: 'committed' });
});

t.test('members that meet again and have no leader need not wait for the next election', async t => {
  const group = openSmallGroup(3);
  const members = [...group.members.values()];
  group.write(group.leader(), 'k', 1);
  for (const { id } of members) for (const other of members) if (other.id !== id) group.network.cut(id, other.id);
  group.until('nobody leads', () => members.every(member => member.node?.status().leader === nobody), 8 * election);
  group.network.healAll();
  const healed = group.world.now();
  members[0]!.node!.ended(nobody);
  group.until('one leads', () => members.some(member => member.node?.status().role === 'leader'));
  t.ok(group.world.now() - healed < 3 * tickUnits, `after ${group.world.now() - healed} of ${election}`);
  t.match(group.write(group.leader(), 'k', 2), { kind: 'committed' });
});

t.test('whoever is wrong about the end of a leader, or of there being none, changes nothing', async t => {
  const group = openSmallGroup(3);
  const leader = group.leader();
  const { term } = leader.node!.status();
  const [one, two] = [...group.members.values()].filter(member => member !== leader);
  one!.node!.ended(leader.id);
  two!.node!.ended(one!.id);
  leader.node!.ended(leader.id);
  for (const member of group.members.values()) member.node!.ended(nobody);
  group.run(3 * election);
  t.equal(group.leader(), leader);
  t.equal(leader.node!.status().term, term, 'no term was begun');
  t.equal(one!.node!.status().leader, leader.id, 'it follows again');
});
