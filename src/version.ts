/**
 * The version of this program, as `covey version` shows it and hellos carry it. Equal to package.json (checked by a test).
 */
export const version = '0.1.0';
