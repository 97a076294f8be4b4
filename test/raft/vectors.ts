/**
 * `npm run vectors`: replays every vector file there is and names each. Paths on the command line replace the search;
 * `--rewrite FILE` makes today's output the expected one (of a vector of our own: read the difference before you keep it).
 *
 * Ends with `N passed, N failed`; the exit status is 1 when a file failed or etcd's files are not there.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { findForeignVectors, listVectors, ownVectors, replayFile, rewrite } from './vectors/runner.js';

const [option, ...files] = process.argv.slice(2);
if (option === '--rewrite') for (const file of files) writeFileSync(file, rewrite(readFileSync(file, 'utf8')));
const wanted = option === '--rewrite' ? files : process.argv.slice(2);
const foreign = findForeignVectors(process.env);
const folders = wanted.length > 0 ? wanted : [foreign, ownVectors].filter(folder => folder !== undefined);
let passed = 0;
let failed = 0;
for (const folder of folders) {
  for (const path of listVectors(folder)) {
    const result = replayFile(path, folder);
    if (result.kind === 'passed') passed++;
    else failed++;
    console.log(
      result.kind === 'passed'
        ? `ok      ${result.name} (${result.directives} directives)`
        : `FAILED  ${result.name}\n${result.problem}`,
    );
  }
}
const missing = wanted.length === 0 && foreign === undefined;
if (missing) console.log("etcd's vectors are not here: set COVEY_VECTORS to their folder");
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || missing ? 1 : 0;
