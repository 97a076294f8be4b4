/**
 * Texts for the screen: their width, cutting, wrapping, and making what others wrote harmless.
 *
 * Not here: numbers and times (values.ts), tables (table.ts).
 */

/** Control characters shown as "?", so that a message of a container cannot command the terminal. Tabs and lines become blanks. */
export function visibleText(text: string): string {
  return text.replaceAll(/[\t\r\n]+/gu, ' ').replaceAll(/\p{Cc}/gu, '?');
}

/** Columns that a text takes: marks that combine take none, East Asian wide letters and pictures two. */
export function widthOf(text: string): number {
  if (/^[\u0020-\u007e]*$/u.test(text)) return text.length;
  let width = 0;
  for (const char of text) width += charWidth(char);
  return width;
}

function charWidth(char: string): number {
  if (/^\p{Mn}|\p{Me}|\u{200b}|\u{200d}|\u{fe0f}$/u.test(char)) return 0;
  const code = char.codePointAt(0) ?? 0;
  const isWide =
    (code >= 0x1100 && code <= 0x115f) ||
    (code >= 0x2e80 && code <= 0xa4cf) ||
    (code >= 0xac00 && code <= 0xd7a3) ||
    (code >= 0xf900 && code <= 0xfaff) ||
    (code >= 0xfe30 && code <= 0xfe6f) ||
    (code >= 0xff00 && code <= 0xff60) ||
    (code >= 0x1f300 && code <= 0x1faff) ||
    (code >= 0x20000 && code <= 0x3fffd);
  return isWide ? 2 : 1;
}

/** At most so many columns; what is cut ends in "…". */
export function cutText(text: string, columns: number): string {
  if (widthOf(text) <= columns) return text;
  let kept = '';
  let width = 0;
  for (const char of text) {
    width += charWidth(char);
    if (width > columns - 1) break;
    kept += char;
  }
  return columns <= 0 ? '' : `${kept.trimEnd()}…`;
}

/** Blanks up to a width, on the right or (for numbers) on the left. */
export function padText(text: string, columns: number, align: 'left' | 'right'): string {
  const blanks = ' '.repeat(Math.max(0, columns - widthOf(text)));
  return align === 'right' ? blanks + text : text + blanks;
}

/** Lines no wider than asked, broken at blanks; a word that is wider stands alone. */
export function wrapWords(text: string, columns: number): readonly string[] {
  if (widthOf(text) <= columns) return [text];
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (line !== '' && widthOf(longer) > columns) {
      lines.push(line);
      line = word;
    } else line = longer;
  }
  return [...lines, line];
}
