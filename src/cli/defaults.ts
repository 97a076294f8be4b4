/**
 * Where the command line finds a daemon that nobody configured.
 *
 * Not here: the daemon's own defaults (daemon/config.ts).
 */
export const runDirDefault = '/run/covey';
/** How long a daemon may take to accept and greet. */
export const connectTimeoutMs = 1_500;
