/**
 * The version of this program, as `covey version` shows it and hellos carry it. Equal to package.json (checked by a test).
 */
export const version = '0.1.0';

/** When this version was written, Unix milliseconds: no clock that is right shows less. */
export const writtenAtMs = Date.UTC(2026, 10, 1);
