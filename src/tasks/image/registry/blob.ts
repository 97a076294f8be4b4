/**
 * The bytes of one blob, in order and without gaps, over as many answers as it takes: a cut connection goes on with a Range
 * where it was, an answer that begins from the start is skipped to there. What is longer or shorter than was said is refused;
 * what comes too slowly is asked for anew.
 *
 * Not here: whether the bytes are the right ones (unpack-layer.ts hashes them), other places to ask (pull-sources.ts).
 */
import type { Buffer } from 'node:buffer';
import { CoveyError } from '../../../errors.js';
import type { Clock } from '../../../host.js';
import type { Registry } from './client.js';
import { openPatience, type PatienceLimits, type PatienceParts } from './patience.js';
import type { HttpAnswer } from './transport.js';

export interface BlobWanted {
  readonly digest: string;
  readonly sizeBytes: number;
  /** Bytes that are there already: the first one to ask for. */
  readonly from: number;
}

export async function* streamBlob(
  registry: Registry,
  wanted: BlobWanted,
  options: { readonly patience: PatienceParts; readonly signal: AbortSignal },
): AsyncGenerator<Buffer> {
  const patience = openPatience(options.patience);
  let at = wanted.from;
  while (at < wanted.sizeBytes) {
    try {
      for await (const piece of askFrom(registry, { ...wanted, from: at }, options)) {
        at += piece.length;
        patience.progress();
        yield piece;
      }
      if (at < wanted.sizeBytes) throw cutShort(registry, wanted, at);
    } catch (error) {
      await patience.wait(error, options.signal);
    }
  }
}

function cutShort({ endpoint }: Registry, { digest, sizeBytes }: BlobWanted, at: number): CoveyError {
  return new CoveyError('registry-unreachable', `Cannot read ${digest} from "${endpoint.host}" to its end`, {
    state: `${at} of ${sizeBytes} bytes came`,
  });
}

async function* askFrom(
  registry: Registry,
  wanted: BlobWanted,
  options: { readonly patience: PatienceParts; readonly signal: AbortSignal },
): AsyncGenerator<Buffer> {
  const { digest, from } = wanted;
  const slow = new AbortController();
  const answer = await registry.ask({
    method: 'GET',
    path: `blobs/${digest}`,
    headers: from === 0 ? {} : { range: `bytes=${from}-` },
    signal: AbortSignal.any([options.signal, slow.signal]),
  });
  let skip = planSkip(registry, wanted, answer);
  let at = from;
  for await (const piece of paced(registry, answer.body, { ...options.patience, slow })) {
    const kept = piece.subarray(Math.min(skip, piece.length));
    skip -= piece.length - kept.length;
    at += kept.length;
    if (at > wanted.sizeBytes) throw wrongLength(registry, wanted, 'more bytes came');
    if (kept.length > 0) yield kept;
  }
}

/** How much of the body is there already. Throws registry-answer when its length cannot be that of the blob. */
function planSkip(registry: Registry, wanted: BlobWanted, answer: HttpAnswer): number {
  const length = answer.header('content-length');
  const isPart = answer.status === 206;
  if (isPart) {
    const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(answer.header('content-range'));
    if (range === null || Number(range[1]) !== wanted.from || wanted.from === 0) {
      answer.discard();
      throw wrongLength(registry, wanted, `asked from ${wanted.from}, it sends "${answer.header('content-range')}"`);
    }
    if (range[2] !== '*' && Number(range[2]) !== wanted.sizeBytes) {
      answer.discard();
      throw wrongLength(registry, wanted, `it says ${range[2]}`);
    }
    return 0;
  }
  if (length !== '' && Number(length) !== wanted.sizeBytes) {
    answer.discard();
    throw wrongLength(registry, wanted, `it says ${length}`);
  }
  return wanted.from;
}

function wrongLength({ endpoint }: Registry, { digest, sizeBytes }: BlobWanted, what: string): CoveyError {
  return new CoveyError('registry-answer', `Cannot use ${digest} of "${endpoint.host}": it has the wrong length`, {
    state: `${sizeBytes} bytes are named in the manifest, ${what}`,
  });
}

/** Counts only the time spent waiting: that nobody takes the bytes is not the registry's fault. */
async function* paced(
  { endpoint }: Registry,
  pieces: AsyncIterable<Buffer>,
  watch: { readonly clock: Clock; readonly limits: PatienceLimits; readonly slow: AbortController },
): AsyncGenerator<Buffer> {
  const { clock, limits, slow } = watch;
  const iterator = pieces[Symbol.asyncIterator]();
  let bytes = 0;
  let waitedMs = 0;
  const giveUp = (): void => {
    const state = `${bytes} bytes came in ${limits.windowMs / 1_000} s`;
    slow.abort(new CoveyError('registry-unreachable', `Cannot wait for "${endpoint.host}": it is too slow`, { state }));
  };
  try {
    for (;;) {
      const startedMs = clock.monotonicMs();
      const timer = clock.after(Math.max(0, limits.windowMs - waitedMs), giveUp);
      const next = await iterator.next().finally(timer.cancel);
      if (next.done === true) return;
      waitedMs += clock.monotonicMs() - startedMs;
      bytes += next.value.length;
      if (bytes >= limits.windowMinBytes) {
        bytes = 0;
        waitedMs = 0;
      }
      yield next.value;
    }
  } finally {
    await iterator.return?.();
  }
}
