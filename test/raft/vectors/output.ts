/**
 * What a directive prints: one text, indented in parts, silent at level NONE.
 *
 * Not here: who prints (group.ts, interaction.ts).
 */
const levels = ['DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL', 'NONE'];

export class Output {
  #text = '';
  #level = 0;

  get text(): string {
    return this.#text;
  }

  get level(): number {
    return this.#level;
  }

  get quiet(): boolean {
    return this.#level === levels.length - 1;
  }

  clear(): void {
    this.#text = '';
  }

  print(text: string): undefined {
    if (!this.quiet) this.#text += text;
  }

  setLevel(wanted: string | number): string | undefined {
    const level = typeof wanted === 'number' ? wanted : levels.indexOf(wanted.toUpperCase());
    if (level < 0) return `log levels must be either of [${levels.join(' ')}]`;
    this.#level = level;
    return undefined;
  }

  /** Prints a title, then what `act` prints, indented. */
  titled<T>(title: string, act: () => T): T {
    this.print(title);
    const outer = this.#text;
    this.#text = '';
    const result = act();
    const inner = this.#text.endsWith('\n') ? this.#text.slice(0, -1) : this.#text;
    const indented = inner
      .split('\n')
      .map(line => `  ${line}\n`)
      .join('');
    this.#text = inner === '' ? outer : outer + indented;
    return result;
  }
}
