/**
 * The program `covey`: gives this process's console to `run` and ends with its exit code.
 *
 * Keeps true: what `covey --help` needs is all that is loaded at the start; gRPC and YAML come with the commands that use them.
 *
 * Not here: everything else (run.ts).
 */
import { openConsole } from '../host-linux/console.js';
import { run } from './run.js';

process.exitCode = await run(openConsole());
// What is left (an open standard input, a connection that closes) must not keep a finished command alive.
process.exit();
