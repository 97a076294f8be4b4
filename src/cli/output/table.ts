/**
 * Tables: a header and lines of cells in columns two blanks apart. On a terminal the widest columns that may be cut give way
 * until a line fits; in a pipe nothing is cut and columns stay stable.
 *
 * Not here: which columns (the views in commands/), other forms of output (list.ts).
 */
import { type Colour, paint } from './colours.js';
import { cutText, padText, visibleText, widthOf } from './text.js';

export interface TableColumn {
  readonly header: string;
  readonly align?: 'left' | 'right';
  /** May be cut down to this many columns; undefined: never cut. */
  readonly cutTo?: number;
}

export interface TableCell {
  readonly text: string;
  readonly colour?: Colour | undefined;
}

export interface TableOptions {
  /** Columns of the terminal; undefined: no limit. */
  readonly width: number | undefined;
  readonly colours: boolean;
}

const gap = 2;

/** Lines, the header first. Blanks at the end of a line are left out. */
export function renderTable(
  columns: readonly TableColumn[],
  rows: readonly (readonly (string | TableCell)[])[],
  options: TableOptions,
): readonly string[] {
  const cells = rows.map(row => columns.map((_, at) => cellOf(row[at])));
  const natural = columns.map((column, at) =>
    Math.max(widthOf(column.header), ...cells.map(row => widthOf(row[at]?.text ?? ''))),
  );
  const widths = options.width === undefined ? natural : fitWidths(columns, natural, options.width);
  const line = (row: readonly TableCell[]): string => {
    const texts = columns.map((column, at) => {
      const { text, colour } = row[at] ?? { text: '' };
      const width = widths[at] ?? 0;
      const cut = cutText(text, width);
      const padded = padText(cut, width, column.align ?? 'left');
      return options.colours && colour !== undefined ? padded.replace(cut, () => paint(cut, colour)) : padded;
    });
    return texts.join(' '.repeat(gap)).trimEnd();
  };
  return [line(columns.map(column => ({ text: column.header }))), ...cells.map(line)];
}

function cellOf(cell: string | TableCell | undefined): TableCell {
  if (cell === undefined) return { text: '' };
  return typeof cell === 'string' ? { text: visibleText(cell) } : { ...cell, text: visibleText(cell.text) };
}

/** Takes from the widest column that may be cut, one by one, until all fit or none can give more. */
function fitWidths(columns: readonly TableColumn[], natural: readonly number[], width: number): readonly number[] {
  const widths = [...natural];
  let excess = widths.reduce((sum, one) => sum + one, 0) + gap * (columns.length - 1) - width;
  while (excess > 0) {
    let widest: number | undefined;
    for (const [at, column] of columns.entries()) {
      const current = widths[at] ?? 0;
      const canGive = column.cutTo !== undefined && current > Math.max(column.cutTo, widthOf(column.header));
      if (canGive && (widest === undefined || current > (widths[widest] ?? 0))) widest = at;
    }
    if (widest === undefined) return widths;
    widths[widest] = (widths[widest] ?? 0) - 1;
    excess -= 1;
  }
  return widths;
}
