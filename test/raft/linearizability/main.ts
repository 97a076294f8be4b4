/**
 * `npm run histories`: judges every recorded history that has a known answer (`expected.csv`: file, true or false) in
 * the folders given, by default `porcupine` under `COVEY_VECTORS` or `../shared/vectors`. Names each; ends with
 * `N passed, N failed`.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { judgeHistory } from './histories.js';

export interface KnownHistory {
  readonly name: string;
  readonly path: string;
  readonly linearizable: boolean;
}

/** The folder of known answers, when it is there. */
export function findHistories(): string | undefined {
  const root = fileURLToPath(new URL('../../../..', import.meta.url));
  const base = process.env['COVEY_VECTORS'] ?? join(root, '../shared/vectors');
  return [join(base, 'porcupine'), base].find(folder => existsSync(join(folder, 'expected.csv')));
}

/** All histories under a folder, at any depth, that an `expected.csv` beside them names. */
export function listHistories(folder: string): readonly KnownHistory[] {
  const below = readdirSync(folder, { withFileTypes: true })
    .filter(entry => entry.isDirectory())
    .flatMap(entry => listHistories(join(folder, entry.name)));
  const table = join(folder, 'expected.csv');
  if (!existsSync(table)) return below;
  const here = readFileSync(table, 'utf8')
    .split('\n')
    .map(line => line.trim().split(','))
    .filter(([name, answer]) => name !== undefined && /^(true|false)$/i.test(answer?.trim() ?? ''))
    .map(([name, answer]) => ({
      name: name!.trim(),
      path: join(folder, name!.trim()),
      linearizable: answer!.trim().toLowerCase() === 'true',
    }));
  return [...here, ...below];
}

function main(folders: readonly string[]): void {
  let [passed, failed] = [0, 0];
  for (const folder of folders) {
    for (const history of listHistories(folder)) {
      const right = (judgeHistory(readFileSync(history.path, 'utf8')).kind === 'linearizable') === history.linearizable;
      if (right) passed += 1;
      else failed += 1;
      console.log(`${right ? 'ok' : 'WRONG'} ${history.name} ${history.linearizable ? 'linearizable' : 'illegal'}`);
    }
  }
  if (passed + failed === 0) console.log('no history with a known answer was found; COVEY_VECTORS names the folder');
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const given = process.argv.slice(2);
  const found = findHistories();
  main(given.length > 0 ? given : found ? [found] : []);
}
