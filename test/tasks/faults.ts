/**
 * A machine on which something goes wrong at a chosen moment. All that the daemon does to the world goes through Host, so the
 * seam is Host: every call with an effect is named and handed to `around`, which may end the process before or after it, or
 * refuse it. The code under test knows nothing of it.
 */
import type { Host, NetlinkSocket, NftContext, SpawnedProcess } from '../../src/host.js';

/** What is about to be done, in words that are the same for every task: "replace data/tasks/<task>/task.json". */
export type Effect = string;

export interface Fault {
  /** Called with each effect and the work that has it; has to call the work, or throw instead. */
  readonly around: <Result>(effect: Effect, work: () => Result) => Result;
}

type Call = (...args: never[]) => unknown;

const fileEffects = [
  'replace',
  'write',
  'writeSync',
  'append',
  'makeDirectory',
  'makeDirectorySync',
  'rename',
  'remove',
  'removeTree',
  'symlink',
  'changeOwner',
  'changeMode',
  'writePipe',
  'syncDirectory',
  'removeDirectorySync',
  'removeFileSync',
] as const;

export function injectFaults(host: Host, fault: Fault, directory: string): Host {
  const named = (verb: string, path: string): Effect => `${verb} ${plainPath(path, directory)}`;
  const wrap = <Name extends string>(calls: Readonly<Record<Name, Call>>, names: readonly Name[]): object =>
    Object.fromEntries(
      names.map(name => {
        const call = calls[name];
        const wrapped = (...args: never[]): unknown =>
          fault.around(named(name.replace(/Sync$/, ''), String(args[0])), () => call(...args));
        return [name, wrapped];
      }),
    );
  return {
    ...host,
    files: {
      ...host.files,
      ...wrap(host.files, fileEffects),
      // Looking is no effect, but for the moment in which the end of a container is seen.
      findTextSync: path => {
        const text = host.files.findTextSync(path);
        return text === undefined || !/\/exits\/|\/persist\/exit$/.test(path)
          ? text
          : fault.around(named('see', path), () => text);
      },
    },
    processes: {
      ...host.processes,
      kill: (pid, signal) => fault.around(`kill with ${signal}`, () => host.processes.kill(pid, signal)),
      spawn: (argv, options) =>
        fault.around(named('spawn', argv[0] ?? ''), async () =>
          pipesOf(await host.processes.spawn(argv, options), fault),
        ),
      run: (argv, options) => fault.around(named('run', argv[0] ?? ''), () => host.processes.run(argv, options)),
    },
    kernel: {
      ...host.kernel,
      ...wrap(host.kernel, ['unmount', 'makeNetworkNamespace', 'removeNamespace']),
      mount: mount => fault.around(named(`mount ${mount.type}`, mount.target), () => host.kernel.mount(mount)),
      openNetlink: (namespace, family) => netlinkOf(host.kernel.openNetlink(namespace, family), fault),
      openNft: namespace => nftOf(host.kernel.openNft(namespace), fault),
    },
  };
}

/** Only what changes something is a step: requests that are no dumps. */
function netlinkOf(socket: NetlinkSocket, fault: Fault): NetlinkSocket {
  const isDump = (batch: Uint8Array): boolean =>
    (new DataView(batch.buffer, batch.byteOffset).getUint16(6, true) & 0x300) !== 0;
  return {
    talk: (batch, acknowledgements) => {
      const work = () => socket.talk(batch, acknowledgements);
      return isDump(batch) ? work() : fault.around('netlink', work);
    },
    [Symbol.dispose]: () => socket[Symbol.dispose](),
  };
}

function nftOf(context: NftContext, fault: Fault): NftContext {
  return {
    run: commands => fault.around('nft', () => context.run(commands)),
    runSync: commands => fault.around('nft', () => context.runSync(commands)),
    [Symbol.dispose]: () => context[Symbol.dispose](),
  };
}

/** The byte that lets a monitor go on, and the line with which it answers. */
function pipesOf(child: SpawnedProcess, fault: Fault): SpawnedProcess {
  const start = child.pipes.get(4);
  const sync = child.pipes.get(3);
  if (start !== undefined) {
    const end = start.end.bind(start);
    Object.assign(start, {
      end: (...args: Parameters<typeof end>) => fault.around('start-pipe byte', () => end(...args)),
    });
  }
  sync?.prependOnceListener('data', () => fault.around('sync line', () => undefined));
  return child;
}

function plainPath(path: string, directory: string): string {
  return path
    .replace(`${directory}/`, '')
    .replaceAll(/[0-9a-z]{25}/g, '<task>')
    .replaceAll(/[0-9a-f]{12,}/g, '<hex>');
}
