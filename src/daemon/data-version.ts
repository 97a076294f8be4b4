/**
 * Which covey wrote the data directory: `version.json` with the version of its layout and the program's. A directory that a newer
 * covey wrote in a newer layout is refused before anything in it is read, so that nothing of it is misjudged.
 *
 * Called by node.ts, under the directory's lock. Not here: versions of single files and messages, which each refuse for themselves.
 */
import { CoveyError } from '../errors.js';
import type { Files } from '../host.js';
import { dataFormat, version } from '../version.js';

interface Stamp {
  readonly format: number;
  readonly version: string;
}

export async function stampDataDir(files: Pick<Files, 'findText' | 'replace'>, dataDir: string): Promise<void> {
  const path = `${dataDir}/version.json`;
  const text = await files.findText(path);
  const refusal = text === undefined ? undefined : refusalOf(text, { format: dataFormat, version });
  if (refusal !== undefined) throw refusal;
  const stamp = `${JSON.stringify({ format: dataFormat, version })}\n`;
  if (text !== stamp) await files.replace(path, stamp, { mode: 0o644 });
}

/** Why a directory with this stamp may not be used by that covey. */
export function refusalOf(text: string, own: Stamp): CoveyError | undefined {
  const stamp = parseStamp(text);
  if (stamp === undefined) {
    return new CoveyError('state-damaged', 'Cannot tell which covey wrote the data directory', {
      state: 'version.json does not hold what was written',
      hint: `{"format":${own.format},"version":"${own.version}"}, if it was this one`,
    });
  }
  if (stamp.format <= own.format) return undefined;
  return new CoveyError('newer-schema', 'Cannot use the data directory: a newer covey wrote it', {
    state: `covey ${stamp.version} wrote it in format ${stamp.format}; this is covey ${own.version}, which reads up to format ${own.format}`,
    hint: `install covey ${stamp.version} or a later one; running tasks go on`,
  });
}

function parseStamp(text: string): Stamp | undefined {
  try {
    const { format, version: by }: { readonly format?: unknown; readonly version?: unknown } = JSON.parse(text);
    return typeof format === 'number' && format > 0 ? { format, version: String(by) } : undefined;
  } catch {
    return undefined; // whatever is wrong with it, it says nothing
  }
}
