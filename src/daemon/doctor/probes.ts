/**
 * Tries things out on this host: mounts an overlay, makes tunnel devices in a throw-away namespace, lists rules. Leaves
 * nothing behind; takes a few milliseconds.
 *
 * Called by doctor.ts at start and by `covey doctor`. Not here: judging the outcomes (findings.ts), the container runtime's
 * self-test (tasks/runtime/probe.ts).
 */
import { messageOf } from '../../errors.js';
import type { Host } from '../../host.js';
import type { HostFacts, Trial } from './findings.js';

export interface ProbeOptions {
  readonly host: Pick<Host, 'files' | 'kernel' | 'machine' | 'random'>;
  readonly dataDir: string;
  /** Makes and removes a link of that kind in a namespace of its own; throws what the kernel says. */
  readonly tryLink: (kind: 'vxlan' | 'wireguard') => void;
}

export async function gatherFacts(options: ProbeOptions): Promise<HostFacts> {
  const { host, dataDir } = options;
  const { kernel } = await host.machine.facts();
  const status = host.files.findTextSync('/proc/self/status') ?? '';
  return {
    kernel,
    capabilities: BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? '0'}`),
    dataDir,
    space: await host.files.space(dataDir),
    overlay: await tryOverlay(options),
    nftables: attempt(() => {
      using context = host.kernel.openNft(undefined);
      context.runSync('list tables');
    }),
    vxlan: attempt(() => options.tryLink('vxlan')),
    wireguard: attempt(() => options.tryLink('wireguard')),
    seccompFilter: /^Seccomp_filters:/m.test(status) || /^Seccomp:/m.test(status),
    systemd: (await host.files.findStat('/run/systemd/system')) !== undefined,
  };
}

function attempt(trial: () => void): Trial {
  try {
    trial();
    return { kind: 'works' };
  } catch (error) {
    return { kind: 'fails', why: messageOf(error) };
  }
}

async function tryOverlay({ host, dataDir }: ProbeOptions): Promise<Trial> {
  const folder = `${dataDir}/probe-${Buffer.from(host.random.bytes(6)).toString('hex')}`;
  const data = `lowerdir=${folder}/lower,upperdir=${folder}/upper,workdir=${folder}/work`;
  try {
    for (const name of ['lower', 'upper', 'work', 'merged']) host.files.makeDirectorySync(`${folder}/${name}`);
    return attempt(() => {
      host.kernel.mount({ source: 'overlay', target: `${folder}/merged`, type: 'overlay', flags: 0, data });
      host.kernel.unmount(`${folder}/merged`);
    });
  } finally {
    await host.files.removeTree(folder);
  }
}
