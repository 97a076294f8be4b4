/**
 * The order in which the kernel runs processes: sched_setscheduler(2).
 */
import type { Kernel } from '../host.js';
import { libcFunction } from './libc.js';

const setScheduler = libcFunction<[number, number, Uint8Array], number>(
  'int sched_setscheduler(int pid, int policy, const uint8_t *priority)',
);

const SCHED_OTHER = 0;
const SCHED_FIFO = 1;
const SCHED_RESET_ON_FORK = 0x4000_0000;

export const linuxScheduling: Pick<Kernel, 'setUrgent'> = {
  setUrgent: (pid, isUrgent) => {
    const priority = Buffer.alloc(4);
    priority.writeInt32LE(isUrgent ? 1 : 0);
    return setScheduler(pid, isUrgent ? SCHED_FIFO | SCHED_RESET_ON_FORK : SCHED_OTHER, priority) === 0;
  },
};
