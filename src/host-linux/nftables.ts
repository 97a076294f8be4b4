/**
 * libnftables: contexts that stay in the namespace in which they were opened. Text commands in, JSON out for lists.
 *
 * A commit waits for the kernel's readers (3 to 15 ms on a busy table), so `run` goes through the thread pool; the library is
 * not made for several threads, so all contexts of the process take turns.
 *
 * Not here: what the rules are (netns/nft/).
 */
import koffi from 'koffi';
import { CoveyError } from '../errors.js';
import type { Kernel, NftContext } from '../host.js';
import { insideNamespace } from './namespaces.js';

type Handle = object;

interface Library {
  readonly newContext: (flags: number) => Handle | null;
  readonly freeContext: (context: Handle) => void;
  readonly bufferOutput: (context: Handle) => number;
  readonly bufferError: (context: Handle) => number;
  readonly setOutputFlags: (context: Handle, flags: number) => void;
  readonly output: (context: Handle) => string;
  readonly errorText: (context: Handle) => string;
  readonly run: ((context: Handle, commands: string) => number) & {
    readonly async: (context: Handle, commands: string, done: (error: Error | null, result: number) => void) => void;
  };
}

const NFT_CTX_OUTPUT_JSON = 1 << 4;

export const linuxNftables: Pick<Kernel, 'openNft'> = makeNftables();

function makeNftables(): Pick<Kernel, 'openNft'> {
  let library: Library | undefined;
  let turn: Promise<unknown> = Promise.resolve();
  return {
    openNft: namespace => {
      library ??= loadLibrary();
      const loaded = library;
      const context = insideNamespace(namespace, () => loaded.newContext(0));
      if (context === null) throw new CoveyError('no-nftables', 'Cannot open a context of libnftables');
      loaded.bufferOutput(context);
      loaded.bufferError(context);
      loaded.setOutputFlags(context, NFT_CTX_OUTPUT_JSON);
      return nftContext(loaded, context, work => {
        const mine = turn.then(work);
        turn = mine.catch(() => undefined);
        return mine;
      });
    },
  };
}

function nftContext(
  library: Library,
  context: Handle,
  inTurn: <Result>(work: () => Promise<Result>) => Promise<Result>,
): NftContext {
  let state: 'open' | 'busy' | 'ended' | 'ending' = 'open';
  const finish = (result: number): string => {
    const output = library.output(context);
    const error = library.errorText(context);
    if (result !== 0) throw refusal(error);
    return output;
  };
  const checkOpen = (): void => {
    if (state !== 'open') throw new CoveyError('bug', `Cannot use a context of libnftables that is ${state}`);
  };
  return {
    run: commands =>
      inTurn(async () => {
        checkOpen();
        state = 'busy';
        try {
          const result = await new Promise<number>((resolve, reject) => {
            library.run.async(context, commands, (error, value) => (error === null ? resolve(value) : reject(error)));
          });
          return finish(result);
        } finally {
          // Ended meanwhile: the library was still at work then, so the context is freed only now.
          if (state === 'busy') state = 'open';
          else library.freeContext(context);
        }
      }),
    runSync: commands => {
      checkOpen();
      return finish(library.run(context, commands));
    },
    [Symbol.dispose]: () => {
      if (state === 'busy') state = 'ending';
      else if (state === 'open') {
        state = 'ended';
        library.freeContext(context);
      }
    },
  };
}

/** The library's text ends with the whole command and carets under it; the first lines say what is wrong. */
function refusal(text: string): CoveyError {
  const lines = text.split('\n').filter(line => line.startsWith('Error') || /^\S+:\d+:\d+/.test(line));
  return new CoveyError('nftables-refused', 'Cannot change the packet rules', {
    state: (lines.length > 0 ? lines.slice(0, 3).join('; ') : text.slice(0, 400)).trim(),
  });
}

function loadLibrary(): Library {
  try {
    const shared = koffi.load('libnftables.so.1');
    const bind = <Function>(prototype: string): Function => shared.func(prototype) as unknown as Function;
    return {
      newContext: bind('void *nft_ctx_new(uint32_t flags)'),
      freeContext: bind('void nft_ctx_free(void *context)'),
      bufferOutput: bind('int nft_ctx_buffer_output(void *context)'),
      bufferError: bind('int nft_ctx_buffer_error(void *context)'),
      setOutputFlags: bind('void nft_ctx_output_set_flags(void *context, unsigned int flags)'),
      output: bind('const char *nft_ctx_get_output_buffer(void *context)'),
      errorText: bind('const char *nft_ctx_get_error_buffer(void *context)'),
      run: bind('int nft_run_cmd_from_buffer(void *context, const char *commands)'),
    };
  } catch (error) {
    throw new CoveyError('no-nftables', 'Cannot load libnftables', {
      hint: 'apt-get install libnftables1',
      cause: error,
    });
  }
}
