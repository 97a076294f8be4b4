/**
 * The composition root: the only place that knows all parts of a daemon and hands them to one another.
 *
 * Keeps true: one daemon a data directory (lock); the socket answers once the parts of this machine are found again; ending
 * the daemon ends everything in reverse order and stops no container.
 *
 * Called by main.ts. Not here: what runs while the machine is a node (member-node.ts), what each part does.
 */
import grpc from '@grpc/grpc-js';
import { CoveyError } from '../errors.js';
import type { Services } from '../gen/services.js';
import type { NodeDescription } from '../gen/types.js';
import type { Handlers } from '../grpc.js';
import type { Host } from '../host.js';
import { type Lifetime, openLifetime } from '../lifetime.js';
import { type NetworkStack, openNetworkStack, tryMeans, vnisOf } from '../netns/index.js';
import { type ImageStore, openImageStore } from '../tasks/image/index.js';
import { probeRuntime, type RuntimeProbe } from '../tasks/index.js';
import { openUserNamespaces, type UserNamespaces, usernsFinding } from '../tasks/userns.js';
import { openUsageMeter } from '../tasks/volume-usage.js';
import { listNamedVolumes, openVolumes, type Volumes } from '../tasks/volumes.js';
import { makeTelemetry, type Telemetry } from '../telemetry.js';
import { schemaVersion, version } from '../version.js';
import { openWire, type Wire } from '../wire.js';
import { chooseAddress, defaultRouteInterface } from './addresses.js';
import { benchHandlers } from './bench.js';
import { defaultPort, parseHostPort, type Settings } from './config.js';
import { gateControl } from './control-gate.js';
import { stampDataDir } from './data-version.js';
import { makeDoctor } from './doctor/doctor.js';
import { judgeNetwork, refuseBlocked } from './doctor/network-findings.js';
import { type Hardware, openHardware } from './hardware.js';
import { type KeyKeeper, openKeyKeeper } from './keys/index.js';
import { type Listening, learnMachine, networkOf, openListening } from './listening.js';
import { type LocalParts, localHandlers } from './local.js';
import type { AdjustableLogger } from './logger.js';
import { type MemberNode, type MemberNodeOptions, openMemberNode } from './member-node.js';
import { type Member, type MembershipFlows, openMembership } from './membership/index.js';
import { type RecoveryCalls, recoveryHandlers } from './recovery.js';
import { openLocalServer } from './rpc/index.js';
import { type Opening, openRunner, type Running } from './runner.js';
import { spreadTaskDirectories } from './task-directories.js';
import { unlocker } from './unlock.js';
import { askVolumes, type VolumeParts } from './volumes.js';

export interface DaemonOptions {
  readonly settings: Settings;
  readonly host: Host;
  readonly log: AdjustableLogger;
  /** Argv of the child that unpacks images. */
  readonly unpackCommand: readonly string[];
  /** Argv of the child that copies files of containers. */
  readonly copyCommand: readonly string[];
  /** HTTP_PROXY and the like. */
  readonly proxy: Readonly<Record<string, string>>;
  readonly nodeVersion: string;
  /** The program of the log's thread. */
  readonly workerFile: URL;
  /** The daemon can't go on and has to be started anew. */
  readonly onBroken: (error: Error) => void;
  readonly signal: AbortSignal;
}

/** Parts of this machine, with or without a cluster. */
interface Machine extends DaemonOptions {
  readonly wire: Wire;
  readonly telemetry: Telemetry;
  readonly lifetime: Lifetime;
  readonly keys: KeyKeeper;
  readonly images: ImageStore;
  readonly volumes: Volumes;
  readonly userns: UserNamespaces;
  readonly network: NetworkStack;
  readonly runtime: RuntimeOfHost;
  readonly hardware: Hardware;
  readonly listening: Listening;
}

/** The container runtime that works here; looked for again after what made it work was undone. */
interface RuntimeOfHost {
  readonly current: () => RuntimeProbe;
  readonly renew: () => Promise<RuntimeProbe>;
  readonly undo: () => Promise<readonly string[]>;
}

export async function openDaemon(options: DaemonOptions): Promise<AsyncDisposable> {
  const { host, settings, log } = options;
  const startedAtMs = host.clock.wallMs();
  grpc.setLogVerbosity(grpc.logVerbosity.NONE); // what fails reaches us as an error
  for (const directory of [settings.dataDir, settings.runDir])
    await host.files.makeDirectory(directory, { mode: 0o711 });
  if (!host.kernel.lockFile(`${settings.dataDir}/lock`)) {
    throw new CoveyError('daemon-running', `Cannot start a second daemon on "${settings.dataDir}"`, {
      hint: 'covey info; another --data-dir, --run-dir and --prefix make a second daemon possible',
    });
  }
  await stampDataDir(host.files, settings.dataDir);
  const telemetry = makeTelemetry(log);
  const lifetime = openLifetime('daemon', { onFailure: (name, error) => log.error('work failed', { name, error }) });
  try {
    const machine = await openMachine(options, { telemetry, lifetime });
    await serve(machine, startedAtMs);
  } catch (error) {
    await lifetime[Symbol.asyncDispose]();
    throw error;
  }
  return lifetime;
}

async function openMachine(
  options: DaemonOptions,
  parts: { readonly telemetry: Telemetry; readonly lifetime: Lifetime },
): Promise<Machine> {
  const { host, settings, log } = options;
  const { dataDir, runDir, prefix } = settings;
  const [images, runtime] = await Promise.all([
    openImageStore({
      directory: `${dataDir}/images`,
      host,
      log: log.with({ part: 'images' }),
      unpackCommand: options.unpackCommand,
      emptyFiles: ['etc/hosts', 'etc/hostname', 'etc/resolv.conf'],
      registries: {
        rulesPath: settings.registriesFile,
        credentialsPath: `${dataDir}/registry-auth.json`,
        proxy: options.proxy,
      },
    }),
    openRuntime(() =>
      probeRuntime({ host, dataDir, runDir, prefix, wanted: settings.runtime, log: log.with({ part: 'runtime' }) }),
    ),
  ]);
  await spreadTaskDirectories(host, { dataDir, log, signal: options.signal });
  parts.lifetime.run('room for images', signal => keepRoom(options, images, signal));
  const network = parts.lifetime.own(
    openNetworkStack({ host, telemetry: parts.telemetry, prefix, runDir, dataDir, clusterPort: settings.listen.port }),
  );
  await network.recover();
  const hardware = openHardware({ machine: host.machine, clock: host.clock, log });
  const userns = openUserNamespaces({ host, dataDir, runDir, range: settings.usernsRange });
  const volumes = openVolumes({ directory: `${dataDir}/volumes`, host, log: log.with({ part: 'volumes' }) });
  const keys = openKeyKeeper({ ...host, dataDir });
  const listening = openListening({ ...host, log, prefix });
  return {
    ...options,
    ...parts,
    wire: openWire(),
    keys,
    images,
    volumes,
    network,
    runtime,
    userns,
    hardware,
    listening,
  };
}

const roomEveryMs = 300_000;

/** A disk that fills hurts all that runs on the machine. */
async function keepRoom(
  { host, settings, log }: DaemonOptions,
  images: ImageStore,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    await host.clock.sleep(roomEveryMs, signal);
    try {
      await images.makeRoom(settings.diskHighWater);
    } catch (error) {
      log.warn('cannot make room by removing images', { error });
    }
  }
}

async function openRuntime(probe: () => Promise<RuntimeProbe>): Promise<RuntimeOfHost> {
  let current = await probe();
  let undone = false;
  return {
    current: () => current,
    renew: async () => {
      if (undone) current = await probe();
      undone = false;
      return current;
    },
    undo: async () => {
      undone = true;
      return await current.undo();
    },
  };
}

function nameOf({ choice }: RuntimeProbe): string {
  return choice === undefined ? '' : `${choice.name} ${choice.version}`;
}

async function serve(machine: Machine, startedAtMs: number): Promise<void> {
  const { host, settings, lifetime } = machine;
  const describe = (asked: Asked): Promise<NodeDescription> => describeNode(machine, asked);
  const volumes: VolumeParts = {
    volumes: machine.volumes,
    meter: openUsageMeter(host, machine.log.with({ part: 'volumes' })),
    clock: host.clock,
    changed: async () => await runner.find()?.describeAgain(),
  };
  const runner = openRunner({
    ...machine,
    clock: host.clock,
    open: opening => openRunning(machine, { ...opening, describe, askVolumes: asked => askVolumes(volumes, asked) }),
    changeRole: (change, signal) => membership.changeRole(change, signal),
  });
  const membership = openMembership({
    ...machine,
    dataDir: settings.dataDir,
    log: machine.log.with({ part: 'membership' }),
    describe,
    vnisOf,
    dataPort: settings.dataPathPort,
    portDefault: defaultPort,
    adopt: async (known, signal) => await runner.find()?.adopt(known, signal),
    start: async (member, starting) => {
      try {
        await (await runner.start(member, starting)).ready(starting.signal);
        refuseBlocked(machine.network.firewallProblems());
      } catch (error) {
        await runner.stop();
        throw error;
      }
    },
  });
  await resume(membership, member => runner.start(member, { bootstrap: [], signal: lifetime.signal }));
  const dismantle = async (): Promise<readonly string[]> => {
    await runner.stop();
    return [...(await machine.network.removeEverything()), ...(await machine.runtime.undo())];
  };
  const findNode = runner.find;
  learnMachine(machine, async () => await findNode()?.describeAgain());
  // A daemon that is no node leaves the host as it found it; one that is a node will need it again.
  lifetime.defer('host', async () => {
    if (findNode() === undefined) await machine.runtime.undo();
  });
  const local = makeLocal(machine, {
    startedAtMs,
    membership,
    describe,
    findNode,
    dismantle,
    volumes,
    recovery: recoveryHandlers({ runner, membership, dismantle, lifetime }),
    unlock: unlocker({ keys: machine.keys, clock: host.clock, membership, findNode, restart: runner.restart }),
  });
  const bench = settings.bench ? { Bench: benchHandlers(() => findNode()?.cluster) } : {};
  lifetime.own(
    await openLocalServer({
      path: settings.socket,
      files: host.files,
      kernel: host.kernel,
      clock: host.clock,
      random: host.random,
      log: machine.log.with({ part: 'socket' }),
      wire: machine.wire,
      services: { Local: local, Control: gateControl(() => controlOf(findNode())), ...bench },
    }),
  );
}

/** Goes on as the node that the files say; a daemon without them waits for init or join. */
async function resume(membership: MembershipFlows, start: (member: Member) => Promise<unknown>): Promise<void> {
  const member = await membership.find();
  if (member !== undefined) await start(member);
}

async function openRunning(
  machine: Machine,
  parts: Opening & {
    readonly describe: (asked: Asked) => Promise<NodeDescription>;
    readonly askVolumes: MemberNodeOptions['askVolumes'];
  },
): Promise<Running> {
  const probe = await machine.runtime.renew();
  if (probe.choice === undefined)
    throw new CoveyError('no-runtime', 'Cannot be a node: no container runtime works on this host', {
      hint: 'covey doctor',
    });
  const lifetime = machine.lifetime.child('node');
  try {
    const node = await openMemberNode({
      ...machine,
      ...parts,
      lifetime,
      runtime: probe.choice,
      onStoreFailed: machine.onBroken,
    });
    return { node, lifetime };
  } catch (error) {
    await lifetime[Symbol.asyncDispose]();
    throw error;
  }
}

interface Asked {
  readonly advertiseAddress: string;
  readonly dataPathAddress: string;
}

async function describeNode(machine: Machine, asked: Asked): Promise<NodeDescription> {
  const { settings, host, images } = machine;
  const probe = machine.runtime.current();
  const facts = await host.machine.facts();
  const addresses = host.machine.addresses().filter(entry => entry.interfaceName !== `${settings.prefix}0`);
  const address = chooseAddress({
    asked: asked.advertiseAddress,
    listen: settings.listen,
    addresses,
    defaultInterface: defaultRouteInterface(host.files),
  });
  const data = asked.dataPathAddress === '' ? parseHostPort(address, defaultPort).host : asked.dataPathAddress;
  return {
    hostname: facts.hostname,
    os: facts.os,
    architecture: facts.architecture,
    kernel: facts.kernel,
    cpuNanos: facts.cpuNanos,
    memoryBytes: facts.memoryBytes,
    addresses: [address],
    dataAddresses: [data],
    dataPort: settings.dataPathPort,
    network: networkOf(addresses, machine.listening),
    runtime: nameOf(probe),
    cgroup: probe.cgroup,
    version,
    schemaVersion,
    labels: {},
    images: images
      .list()
      .flatMap(image => image.names)
      .slice(0, 200),
    volumes: (await listNamedVolumes(host.files, `${settings.dataDir}/volumes`)).slice(0, 200),
    userns: (await machine.userns.findObstacle()) === undefined,
    privileged: settings.allowPrivileged,
    hardware: machine.hardware.current(),
    ...machine.network.facts(),
    lockKeyId: (await machine.keys.lock())?.keyId,
  };
}

function makeLocal(
  machine: Machine,
  parts: {
    readonly startedAtMs: number;
    readonly membership: MembershipFlows;
    readonly describe: (asked: Asked) => Promise<NodeDescription>;
    readonly findNode: () => MemberNode | undefined;
    readonly dismantle: () => Promise<readonly string[]>;
    readonly recovery: RecoveryCalls;
    readonly unlock: LocalParts['unlock'];
    readonly volumes: VolumeParts;
  },
): Handlers<Services['Local']> {
  const { host, settings, telemetry, network, runtime } = machine;
  network.onMended(() => void parts.findNode()?.describeAgain());
  const doctor = makeDoctor({
    host,
    dataDir: settings.dataDir,
    tryLink: kind => tryMeans(host.kernel, kind, network),
    telemetry,
    runtimeFindings: async () => [...runtime.current().findings, await usernsFinding(machine.userns, settings.userns)],
    nodeFindings: () => [...judgeNetwork(network, host.clock.wallMs()), ...(parts.findNode()?.findings() ?? [])],
    changes: () => [
      ...network.changes().map(change => `${change.kind} ${change.name}: ${change.detail}`),
      ...runtime.current().changes(),
    ],
  });
  return localHandlers({
    ...parts,
    settings,
    pid: host.processes.pid,
    nodeVersion: machine.nodeVersion,
    runtime: () => nameOf(runtime.current()),
    images: machine.images,
    imagesChanged: async () => await parts.findNode()?.describeAgain(),
    doctor,
    setLogLevel: machine.log.setLevel,
  });
}

function controlOf(node: MemberNode | undefined): Handlers<Services['Control']> {
  if (node === undefined) {
    throw new CoveyError('not-in-cluster', 'Cannot answer: this daemon is not a node of any cluster', {
      hint: 'covey init makes a cluster, covey join enters one',
    });
  }
  if (node.isSuperseded) {
    throw new CoveyError('group-superseded', 'Cannot answer: this node is no manager any more', {
      state: 'the managers were made a new group without it; it waits for them to say what it is now',
    });
  }
  return node.control;
}
