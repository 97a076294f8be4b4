/**
 * How far a pull is, as the daemon tells it. Pure.
 *
 * Not here: the pull (pull.ts), screens of the command line (cli/commands/image-pull.ts).
 */
import type { PullImageProgress } from '../../gen/types.js';
import type { UnpackMessage } from './unpack-protocol.js';

export type PullStage = Pick<PullImageProgress, 'bytes' | 'totalBytes' | 'layers' | 'note'>;

export const beginning: PullStage = { bytes: 0, totalBytes: 0, layers: [], note: '' };

export function stageOf({ layers, note }: Extract<UnpackMessage, { kind: 'pulling' }>): PullStage {
  const wanted = layers.filter(layer => layer.step !== 'here');
  const sum = (key: 'bytes' | 'totalBytes'): number => wanted.reduce((total, layer) => total + layer[key], 0);
  return { bytes: sum('bytes'), totalBytes: sum('totalBytes'), layers, note };
}

/** "pulling hello:1: 41.0 of 66.3 MiB". */
export function renderStage(name: string, { bytes, totalBytes, note }: PullStage): string {
  if (note !== '') return `pulling ${name}: ${note}`;
  return totalBytes === 0 ? `pulling ${name}` : `pulling ${name}: ${renderPart(bytes, totalBytes)}`;
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

function renderPart(bytes: number, totalBytes: number): string {
  const unit = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, totalBytes)) / 10));
  const digits = unit === 0 ? 0 : 1;
  const number = (value: number): string => (value / 1024 ** unit).toFixed(digits);
  return `${number(bytes)} of ${number(totalBytes)} ${units[unit]}`;
}
