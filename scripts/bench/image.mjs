// Pull and unpack of one large layer (922 MB in 12,500 files, about 340 MB compressed) from Debian's docker-registry on this
// machine, with the delay of the event loop of the process that asks for it; beside umoci and GNU tar, which read it from disk.
import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createGzip } from 'node:zlib';
import { metric } from './stats.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const programs = { skopeo: '/usr/bin/skopeo', umoci: '/usr/bin/umoci', registry: '/usr/bin/docker-registry' };
const files = 12_500;
const fileBytes = 73_760;
const port = 5_079;
const rounds = Number(process.env.BENCH_ROUNDS ?? 5);

export async function* metrics({ signal, say }) {
  const scratch = fs.mkdtempSync(join(tmpdir(), 'covey-bench-image-'));
  let registry;
  try {
    const layout = join(scratch, 'layout');
    const { layer, bytes } = await makeLayout(layout);
    say(
      `a layer of ${Math.round(bytes / 1e6)} MB compressed, ${Math.round((files * fileBytes) / 1e6)} MB in ${files} files`,
    );
    registry = await startRegistry(scratch);
    execFileSync(programs.skopeo, [
      'copy',
      '-q',
      '--insecure-policy',
      '--dest-tls-verify=false',
      `oci:${layout}:1`,
      `docker://127.0.0.1:${port}/bench:1`,
    ]);
    const ours = [];
    const lags = [];
    const tar = [];
    const umoci = [];
    const cpu = { ours: [], tar: [], umoci: [] };
    for (let round = 0; round < rounds && !signal.aborted; round += 1) {
      const { seconds, cpuSeconds, lagMs } = await pull(join(scratch, `images-${round}`), signal);
      ours.push(seconds);
      cpu.ours.push(cpuSeconds);
      lags.push(lagMs);
      // In turns, so that the mood of the machine is the same for all.
      const byTar = timed(scratch, `tar-${round}`, to => execFileSync('tar', ['-xzf', layer, '-C', to]));
      tar.push(byTar.seconds);
      cpu.tar.push(byTar.cpuSeconds);
      const byUmoci = timed(scratch, `umoci-${round}`, to =>
        execFileSync(programs.umoci, ['unpack', '--image', `${layout}:1`, join(to, 'bundle')], { stdio: 'ignore' }),
      );
      umoci.push(byUmoci.seconds);
      cpu.umoci.push(byUmoci.cpuSeconds);
    }
    yield metric('unpack_s', 's', ours, umoci);
    yield metric('unpack_beside_tar_s', 's', ours, tar);
    // Hardly depends on what else the machine does. Ours is with what asks for it, downloads and checks.
    yield metric('unpack_cpu_s', 's', cpu.ours, cpu.umoci);
    yield metric('unpack_cpu_beside_tar_s', 's', cpu.ours, cpu.tar);
    yield metric('unpack_lag_p99_ms', 'ms', lags);
  } finally {
    registry?.kill('SIGKILL');
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

/** A third of each file is noise, the rest repeats: compresses about as well as programs do. */
function* tarBlocks() {
  const noise = randomBytes(64 * 2 ** 20);
  const text = Buffer.from('the quick brown fox jumps over the lazy dog, again and again. ');
  const rest = Buffer.alloc(fileBytes, text);
  for (let at = 0; at < files; at += 1) {
    const header = Buffer.alloc(512);
    const put = (value, offset, length) => header.write(value.padStart(length - 1, '0'), offset, 'latin1');
    header.write(`d${at % 250}/file-${at}`, 0);
    put('644', 100, 8);
    put('0', 108, 8);
    put('0', 116, 8);
    put(fileBytes.toString(8), 124, 12);
    put('1700000000', 136, 12);
    header.write('0', 156);
    header.write('ustar\x0000', 257, 'latin1');
    header.fill(32, 148, 156);
    header.write(
      `${header
        .reduce((sum, byte) => sum + byte, 0)
        .toString(8)
        .padStart(6, '0')}\0 `,
      148,
      'latin1',
    );
    const data = Buffer.from(rest);
    const from = (at * 104_729) % (noise.length - fileBytes);
    noise.copy(data, 0, from, from + Math.round(fileBytes * 0.36));
    yield Buffer.concat([header, data, Buffer.alloc((512 - (fileBytes % 512)) % 512)]);
  }
  yield Buffer.alloc(1_024);
}

async function makeLayout(folder) {
  const blobs = join(folder, 'blobs/sha256');
  fs.mkdirSync(blobs, { recursive: true });
  const diff = createHash('sha256');
  const packed = createHash('sha256');
  const raw = join(folder, 'layer');
  await pipeline(
    async function* () {
      for (const block of tarBlocks()) {
        diff.update(block);
        yield block;
      }
    },
    createGzip({ level: 1 }),
    async function* (pieces) {
      for await (const piece of pieces) {
        packed.update(piece);
        yield piece;
      }
    },
    fs.createWriteStream(raw),
  );
  const hex = packed.digest('hex');
  const layer = join(blobs, hex);
  fs.renameSync(raw, layer);
  const { size } = fs.statSync(layer);
  const put = value => {
    const text = JSON.stringify(value);
    const digest = createHash('sha256').update(text).digest('hex');
    fs.writeFileSync(join(blobs, digest), text);
    return { digest: `sha256:${digest}`, size: text.length };
  };
  const oci = 'application/vnd.oci.image';
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
  const config = put({
    architecture,
    os: 'linux',
    config: {},
    rootfs: { type: 'layers', diff_ids: [`sha256:${diff.digest('hex')}`] },
  });
  const manifest = put({
    schemaVersion: 2,
    mediaType: `${oci}.manifest.v1+json`,
    config: { mediaType: `${oci}.config.v1+json`, ...config },
    layers: [{ mediaType: `${oci}.layer.v1.tar+gzip`, digest: `sha256:${hex}`, size }],
  });
  const index = {
    schemaVersion: 2,
    manifests: [
      { mediaType: `${oci}.manifest.v1+json`, ...manifest, annotations: { 'org.opencontainers.image.ref.name': '1' } },
    ],
  };
  fs.writeFileSync(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  fs.writeFileSync(join(folder, 'index.json'), JSON.stringify(index));
  return { layer, bytes: size };
}

async function startRegistry(scratch) {
  const config = join(scratch, 'registry.yml');
  const storage = `{ filesystem: { rootdirectory: ${join(scratch, 'registry')} } }`;
  fs.writeFileSync(
    config,
    `version: 0.1\nlog: { level: error }\nstorage: ${storage}\nhttp: { addr: '127.0.0.1:${port}' }\n`,
  );
  const child = spawn(programs.registry, ['serve', config], { stdio: 'ignore' });
  for (let tries = 0; tries < 100; tries += 1) {
    const isOpen = await new Promise(resolve => {
      const socket = connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false));
      socket.unref();
    });
    if (isOpen) return child;
    await sleep(50);
  }
  child.kill('SIGKILL');
  throw new Error('docker-registry does not answer');
}

/** Of those that bin/coveyd passes to Node, the ones that the daemon passes to its children. */
function daemonFlags() {
  return fs.readFileSync(join(root, 'bin/coveyd'), 'utf8').match(/(?<=\s)--(?:min|max|no-conc)[\w=-]+/g) ?? [];
}

/** What was made stays to the end: ext4 looks at each inode that was freed in the last minutes before it gives out another. */
async function pull(directory, signal) {
  const { openImageStore } = await import(join(root, 'dist/src/tasks/image/index.js'));
  const { linuxHost } = await import(join(root, 'dist/src/host-linux/index.js'));
  const quiet = () => undefined;
  const log = { debug: quiet, info: quiet, warn: quiet, error: quiet, with: () => log };
  const store = await openImageStore({
    directory,
    host: linuxHost,
    log,
    unpackCommand: [
      process.execPath,
      ...daemonFlags(),
      '--single-threaded-gc',
      join(root, 'dist/coveyd.js'),
      '--unpack-image',
    ],
  });
  const delay = monitorEventLoopDelay({ resolution: 1 });
  const startedMs = performance.now();
  const before = cpuSecondsNow();
  delay.enable();
  for await (const _ of store.pullImage({ image: `127.0.0.1:${port}/bench:1`, platform: '' }, signal));
  delay.disable();
  const seconds = (performance.now() - startedMs) / 1_000;
  return { seconds, cpuSeconds: cpuSecondsNow() - before, lagMs: delay.percentile(99) / 1e6 };
}

function timed(scratch, name, work) {
  const to = join(scratch, name);
  fs.mkdirSync(to);
  const startedMs = performance.now();
  const before = cpuSecondsNow();
  work(to);
  const seconds = (performance.now() - startedMs) / 1_000;
  const cpuSeconds = cpuSecondsNow() - before;
  execFileSync('sync', ['-f', to]); // what one leaves to be written does not slow the next
  return { seconds, cpuSeconds };
}

/** Of this process and of all children that have ended. */
function cpuSecondsNow() {
  const fields = fs.readFileSync('/proc/self/stat', 'utf8').split(') ')[1].split(' ');
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / 100;
}
