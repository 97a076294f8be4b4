// The peer of the log: etcd from Debian's etcd-server, three members on loopback with their data beside that of a dev-cluster's
// daemons. Spoken to with the same grpc-js; the few messages that are needed are written by hand.
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs';

const directory = '/run/covey-peer-etcd';
const firstPort = 23_790;
const members = 3;

/** Whether Debian's etcd is here; bench runs without it otherwise, and say so. */
export const hasEtcd = fs.existsSync('/usr/bin/etcd');

/** Starts it; the result is an AsyncDisposable that takes it down. */
export async function openEtcd({ signal }) {
  const peer = new Etcd(signal);
  try {
    await peer.up();
  } catch (error) {
    await peer[Symbol.asyncDispose]();
    throw error;
  }
  return peer;
}

class Etcd {
  #signal;
  #processes = [];
  #clients = [];

  constructor(signal) {
    this.#signal = signal;
  }

  async up() {
    fs.rmSync(directory, { recursive: true, force: true });
    fs.mkdirSync(directory, { recursive: true });
    for (let index = 1; index <= members; index += 1) this.start(index);
    for (let index = 1; index <= members; index += 1)
      this.#clients.push(
        new grpc.Client(`127.0.0.1:${portOf(index)}`, grpc.credentials.createInsecure(), {
          'grpc.initial_reconnect_backoff_ms': 50,
          'grpc.max_reconnect_backoff_ms': 250,
        }),
      );
    await this.leader();
  }

  start(index) {
    const peers = Array.from({ length: members }, (_, at) => `m${at + 1}=http://127.0.0.1:${portOf(at + 1) + 10}`);
    const out = fs.openSync(`${directory}/${index}.log`, 'a');
    const argv = [
      ['--name', `m${index}`],
      ['--data-dir', `${directory}/${index}`],
      ['--listen-client-urls', `http://127.0.0.1:${portOf(index)}`],
      ['--advertise-client-urls', `http://127.0.0.1:${portOf(index)}`],
      ['--listen-peer-urls', `http://127.0.0.1:${portOf(index) + 10}`],
      ['--initial-advertise-peer-urls', `http://127.0.0.1:${portOf(index) + 10}`],
      ['--initial-cluster', peers.join(',')],
      ['--quota-backend-bytes', String(8 * 2 ** 30)],
      ['--logger', 'zap'],
      ['--log-level', 'error'],
    ].flat();
    this.#processes[index - 1] = spawn('/usr/bin/etcd', argv, { stdio: ['ignore', out, out] });
    fs.closeSync(out);
  }

  get pids() {
    return this.#processes.map(({ pid }) => pid);
  }

  /** Ends a member as kill -9 does; resolves at once. */
  kill(index) {
    this.#processes[index - 1].kill('SIGKILL');
  }

  /** A put at a member, wherever the leader is. */
  put(index, key, value, timeoutMs = 20_000) {
    const request = protobuf.Writer.create().uint32(10).bytes(Buffer.from(key)).uint32(18).bytes(value).finish();
    return this.#call(index, '/etcdserverpb.KV/Put', request, timeoutMs);
  }

  /** Index of the member that leads, once all of them say the same. */
  async leader() {
    for (;;) {
      const said = await Promise.all(
        this.#clients.map((_, at) => this.#status(at + 1).catch(() => ({ member: 'none', leader: `none ${at}` }))),
      );
      const [{ leader }] = said;
      const index = said.findIndex(({ member }) => member === leader);
      if (index >= 0 && said.every(one => one.leader === leader)) return index + 1;
      this.#signal.throwIfAborted();
      await sleep(50);
    }
  }

  /** StatusResponse: header (1) with its member id (2), leader (4). */
  async #status(index) {
    const reader = protobuf.Reader.create(
      await this.#call(index, '/etcdserverpb.Maintenance/Status', new Uint8Array(), 2_000),
    );
    const found = { member: '', leader: '0' };
    while (reader.pos < reader.len) {
      const tag = reader.uint32();
      if (tag === 10) {
        const end = reader.uint32() + reader.pos;
        while (reader.pos < end) {
          const inner = reader.uint32();
          if (inner === 16) found.member = String(reader.uint64());
          else reader.skipType(inner & 7);
        }
      } else if (tag === 32) found.leader = String(reader.uint64());
      else reader.skipType(tag & 7);
    }
    return found;
  }

  #call(index, path, request, timeoutMs) {
    return new Promise((resolve, reject) => {
      this.#clients[index - 1].makeUnaryRequest(
        path,
        message => Buffer.from(message),
        bytes => bytes,
        request,
        new grpc.Metadata(),
        { deadline: Date.now() + timeoutMs },
        (error, answer) => (error === null ? resolve(answer) : reject(error)),
      );
    });
  }

  async [Symbol.asyncDispose]() {
    for (const client of this.#clients) client.close();
    const running = this.#processes.filter(child => child.exitCode === null && child.signalCode === null);
    const ended = running.map(child => new Promise(resolve => child.once('exit', resolve)));
    for (const child of running) child.kill('SIGKILL');
    await Promise.all(ended);
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

const portOf = index => firstPort + index;
