/**
 * A daemon's half of a node in a process of its own, to be killed: opens an agent on given directories, assigns the tasks of a
 * file, and lives until somebody ends it. `argv`: directory, prefix, file of tasks (JSON).
 */
import * as fs from 'node:fs';
import type { Task } from '../../src/gen/types.js';
import { openAgentAt } from './fixtures.js';

const [directory = '', prefix = '', file = ''] = process.argv.slice(2);
const { agent } = await openAgentAt({ directory, prefix });
const tasks = JSON.parse(fs.readFileSync(file, 'utf8')) as readonly Task[];
setInterval(() => undefined, 1_000); // nothing of an agent keeps a process alive
process.stdout.write('open\n');
await agent.assign({ term: 1, sequence: 1, full: true, tasks, removedTasks: [], secrets: [], configs: [] });
process.stdout.write('assigned\n');
