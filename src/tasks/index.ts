/**
 * The worker half of a node: runs the tasks that the managers assign, and says what became of them.
 *
 * Keeps true: what is written in `tasks/<id>/task.json` is done or undone, whatever line the daemon died at; containers run
 * on without the daemon; statuses only rise; everything in the kernel carries a task's id and goes with it.
 *
 * How it goes: `agent.ts` is the front -> `worker.ts` keeps one `controller.ts` per task -> `task.ts` decides the next
 * action from what is wanted and seen -> `runtime/`, `cgroup/`, `secrets`, `health`, `logs`, `exec` carry it out. Images,
 * volumes and networks are handed in (`images.ts`, `network.ts`). `runtime/probe.ts` finds a runtime that works here.
 *
 * Try it: `sudo npm run test:real -- tasks` (a busybox root file system, no network; cleans up after itself).
 */
export { openAgent } from './agent.js';
export type { Agent, RuntimeChoice } from './agent-types.js';
export type { TaskImages, TaskVolumes } from './images.js';
export type { TaskNetwork } from './network.js';
export { probeRuntime, type RuntimeProbe } from './runtime/probe.js';
