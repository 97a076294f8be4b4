/**
 * One simulated machine with a member on it: a disk that stays, and a process that comes and goes. The process is the
 * real node on the real storage code; its storage thread is an actor that takes all waiting requests at a time.
 *
 * Not here: what goes wrong (faults.ts), what must hold (checks.ts).
 */
import { CoveyError, messageOf } from '../../../src/errors.js';
import type { PeerId } from '../../../src/raft/core/types.js';
import type { NodeEvent, NodeLimits } from '../../../src/raft/node/types.js';
import { RaftNode } from '../../../src/raft/node.js';
import { decodeBatch } from '../../../src/raft/storage/batch.js';
import { clearKeyring, type Keyring } from '../../../src/raft/storage/keyring.js';
import type { StorageRequest } from '../../../src/raft/storage/storage-protocol.js';
import { openStorage, type StorageOptions, type StorageServer } from '../../../src/raft/storage/storage-server.js';
import { encodeForWal } from '../../../src/raft/storage/wal-types.js';
import type { Checks } from './checks.js';
import type { Network } from './network.js';
import { createRandom, type Random } from './random.js';
import { createRegisterMachine, emptyState, type RegisterMachine } from './register-machine.js';
import { SimDisk } from './sim-disk.js';
import type { World } from './world.js';

export interface MemberOptions {
  readonly id: PeerId;
  readonly seed: number;
  readonly world: World;
  readonly network: Network;
  readonly checks: Checks;
  readonly limits: NodeLimits;
  readonly tickUnits: number;
  readonly segmentBytes: number;
  readonly encrypted: boolean;
  readonly onEvent: (id: PeerId, event: NodeEvent) => void;
}

const folder = '/raft';

export class Member {
  readonly id: PeerId;
  readonly disk: SimDisk;
  node: RaftNode | undefined;
  machine: RegisterMachine | undefined;
  /** Its disk is damaged for good, or it was taken away. */
  lost = false;
  wasFlipped = false;
  /** Time between two ticks, as a multiple of the true one. */
  rate = 1;
  diskDelayMax = 2;
  stalledUntil = 0;
  pausedUntil = 0;
  /** Each slice of applying takes up to so long, and holds one entry. */
  slowApply = 0;
  /** Power goes at the so-many-th write from now. */
  crashAfterWrites: number | undefined;
  incarnation = 0;
  readonly #options: MemberOptions;
  readonly #random: Random;
  #server: StorageServer | undefined;
  #requests: StorageRequest[] = [];
  #storageBusy = false;
  #powerIsOut = false;
  #cpuUnits = 0;

  constructor(options: MemberOptions) {
    this.#options = options;
    this.id = options.id;
    this.#random = createRandom(options.seed, `member ${options.id}`);
    this.disk = new SimDisk({
      random: createRandom(options.seed, `disk ${options.id}`),
      beforeWrite: () => this.#beforeWrite(),
    });
  }

  get isUp(): boolean {
    return this.node !== undefined;
  }

  /** Puts the first snapshot of a new group on the disk. */
  bootstrap(voters: readonly PeerId[]): void {
    const confState = { voters, learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
    const server = openStorage(this.#storageOptions());
    const name = { index: 1, term: 1 };
    const marker = encodeForWal(
      { hardState: { term: 1, vote: 0, commit: 1 }, marker: { ...name, replaces: true }, entries: [] },
      true,
    );
    server.handle([{ id: 1, kind: 'snapshot-begin', meta: { ...name, confState }, origin: 'own' }]);
    server.handle([{ id: 2, kind: 'snapshot-chunk', ...name, origin: 'own', offset: 0, bytes: emptyState() }]);
    server.handle([{ id: 3, kind: 'snapshot-finish', ...name, origin: 'own', totalBytes: emptyState().length }]);
    server.handle([{ id: 4, kind: 'append', batch: marker }]);
    this.#options.checks.onPosted(this.id, decodeBatch(Buffer.from(marker.body)));
    this.#options.checks.onStored(this.id);
  }

  /** Starts the process. A damaged log is refused; then the member is lost if a bit of it was flipped. */
  start(): void {
    if (this.node || this.lost) return;
    const { world, checks, network, limits, seed, onEvent } = this.#options;
    this.incarnation += 1;
    const server = this.#openStorage();
    if (!server) return;
    const { opened } = server;
    checks.onStart(this.id, opened.state);
    this.#server = server;
    this.#requests = [];
    this.#storageBusy = false;
    const machine = createRegisterMachine(
      {
        onApplied: (index, term, chain) => {
          checks.onApplied(this.id, index, term, chain);
          const pending = this.node?.core?.raft.log.unstable.snapshot;
          if (pending)
            checks.fail(`member ${this.id}: applied entry ${index} while it takes the snapshot at ${pending.index}`);
        },
        onRestored: (index, chain) => checks.onRestored(this.id, index, chain),
      },
      64,
    );
    this.machine = machine;
    const random = createRandom(seed, `node ${this.id} ${this.incarnation}`);
    const incarnation = this.incarnation;
    this.node = new RaftNode({
      id: this.id,
      limits,
      opened,
      machine,
      storage: { post: request => this.#post(request) },
      transport: network.transportOf(this.id),
      scheduler: {
        defer: call => this.later(this.#random.between(0, this.slowApply), '', call),
        nowMs: () => this.#nowMs(),
      },
      random: bound => random.below(bound),
      onEvent: event => {
        if (this.incarnation === incarnation) onEvent(this.id, event);
      },
      trace: event => checks.onTrace(event, this.node?.core?.raft),
    });
    world.note(`${this.id} starts`);
    this.#scheduleTick();
  }

  /** Power is cut. */
  crash(): void {
    if (!this.node) return;
    this.#end();
    this.disk.crash();
    this.#options.world.note(`${this.id} crashes`);
  }

  /** The process ends, the machine stays. */
  kill(): void {
    if (!this.node) return;
    this.#end();
    this.disk.killProcess();
    this.#options.world.note(`${this.id} is killed`);
  }

  /** Runs `call` in this process after `delay`, unless it has ended by then; a stopped process runs it when it goes on. */
  later(delay: number, label: string, call: () => void): void {
    const { world, checks } = this.#options;
    const incarnation = this.incarnation;
    const run = () => {
      if (incarnation !== this.incarnation || !this.node) return;
      if (this.pausedUntil > world.now()) {
        world.after(this.pausedUntil - world.now(), '', run);
        return;
      }
      call();
      const core = this.node?.core;
      if (core) checks.afterEvent(core.raft);
    };
    world.after(delay, label, run);
  }

  /** Jumps the clock: so many ticks at once, as a timer that fires in a burst would give. */
  burst(ticks: number): void {
    for (let count = 0; count < ticks; count += 1) this.later(0, `${this.id} tick`, () => this.node?.tick());
  }

  storage(): StorageServer | undefined {
    return this.#server;
  }

  #end(): void {
    this.node?.stop();
    this.node = undefined;
    this.#server = undefined;
    this.#requests = [];
    this.crashAfterWrites = undefined;
    this.pausedUntil = 0;
    this.stalledUntil = 0;
  }

  #openStorage(): StorageServer | undefined {
    try {
      return openStorage(this.#storageOptions());
    } catch (error) {
      if (this.#powerIsOut) {
        this.#powerIsOut = false;
        this.disk.crash();
        this.#options.world.note(`${this.id} crashes while it starts`);
        return undefined;
      }
      if (error instanceof CoveyError && (error.code === 'no-space' || error.code === 'log-failed')) return undefined;
      if (
        this.wasFlipped &&
        error instanceof CoveyError &&
        (error.code === 'log-damaged' || error.code === 'snapshot-missing')
      ) {
        this.lost = true;
        this.#options.world.note(`${this.id} is damaged`);
        return undefined;
      }
      const state = error instanceof CoveyError ? (error.state ?? '') : '';
      this.#options.checks.fail(`member ${this.id} cannot start: ${messageOf(error)} ${state}`);
      return undefined;
    }
  }

  #storageOptions(): StorageOptions {
    const random = createRandom(this.#options.seed, `nonce ${this.id} ${this.incarnation}`);
    const keyring: Keyring = this.#options.encrypted
      ? { currentId: 1, keys: new Map([[1, new Uint8Array(32).fill(this.id)]]) }
      : clearKeyring;
    return {
      disk: this.disk,
      folder,
      identity: { cluster: 'sim', node: this.id },
      keyring,
      random: size => {
        const bytes = new Uint8Array(size);
        random.fill(bytes);
        return bytes;
      },
      segmentBytes: this.#options.segmentBytes,
      chunkBytes: 100,
      freeBytesMin: 0,
    };
  }

  #beforeWrite(): void {
    if (this.#powerIsOut) throw new Error('the power is out');
    if (this.crashAfterWrites === undefined) return;
    this.crashAfterWrites -= 1;
    if (this.crashAfterWrites >= 0) return;
    this.crashAfterWrites = undefined;
    this.#powerIsOut = true;
    throw new Error('the power is out');
  }

  #post(request: StorageRequest): void {
    if (request.kind === 'append') this.#options.checks.onPosted(this.id, decodeBatch(Buffer.from(request.batch.body)));
    this.#requests.push(request);
    this.#runStorage();
  }

  /** The storage thread takes all that waits; while it writes, more gathers. */
  #runStorage(): void {
    if (this.#storageBusy || this.#requests.length === 0) return;
    this.#storageBusy = true;
    const stall = Math.max(0, this.stalledUntil - this.#options.world.now());
    this.later(stall + this.#random.between(0, this.diskDelayMax), '', () => {
      const requests = this.#requests;
      this.#requests = [];
      const replies = this.#server!.handle(requests);
      if (!this.#powerIsOut) this.#server!.idle();
      if (this.#powerIsOut) {
        this.#powerIsOut = false;
        this.crash();
        return;
      }
      for (const reply of replies) {
        const request = requests.find(one => one.id === reply.id)!;
        if (request.kind === 'append' && reply.kind === 'done') this.#options.checks.onStored(this.id);
      }
      this.later(this.#random.between(0, 1), `${this.id} stored ${replies.length}`, () => {
        for (const reply of replies) this.node?.onStorageReply(reply);
      });
      this.#storageBusy = false;
      this.#runStorage();
    });
  }

  #scheduleTick(): void {
    this.later(this.#options.tickUnits * this.rate * (0.9 + this.#random.below(20) / 100), '', () => {
      this.node?.tick();
      this.#scheduleTick();
    });
  }

  #nowMs(): number {
    if (this.slowApply > 0) this.#cpuUnits += 10;
    return this.#options.world.now() + this.#cpuUnits;
  }
}
