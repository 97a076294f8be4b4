/**
 * Colours of the terminal, for states only.
 *
 * Not here: whether there are colours at all (context.ts).
 */
export type Colour = 'red' | 'green' | 'yellow' | 'dim';

const codes: Readonly<Record<Colour, string>> = { red: '31', green: '32', yellow: '33', dim: '2' };

export function paint(text: string, colour: Colour | undefined): string {
  return colour === undefined || text === '' ? text : `\u{1b}[${codes[colour]}m${text}\u{1b}[0m`;
}

const colourByState: Readonly<Record<string, Colour>> = {
  running: 'green',
  ready: 'green',
  complete: 'green',
  ok: 'green',
  failed: 'red',
  rejected: 'red',
  orphaned: 'red',
  lost: 'red',
  fail: 'red',
  warn: 'yellow',
  pending: 'yellow',
  draining: 'yellow',
  shutdown: 'dim',
};

/** The colour that a state has everywhere; none for states in between. */
export function stateColour(state: string): Colour | undefined {
  return colourByState[state];
}
