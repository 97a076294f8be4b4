/**
 * The program `covey`: gives this process's console to `run` and ends with its exit code.
 *
 * Keeps true: what `covey --help` needs is all that is evaluated at the start; the protos and YAML come with the commands that
 * use them.
 *
 * Not here: everything else (run.ts).
 */
import { openConsole } from '../host-linux/console.js';
import { run } from './run.js';

// Without an await at the top level: the bundle is no module, so that V8 can be given its compiled code (start.ts). What is left
// (an open standard input, a connection that closes) must not keep a finished command alive.
void run(openConsole()).then(code => process.exit(code));
