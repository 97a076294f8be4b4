/**
 * Files of a cgroup and what is to be written to them, so that each version has one list of what a limit means there, and one
 * place (apply.ts) writes it.
 *
 * Not here: the lists (v1.ts, v2.ts).
 */

export interface Knob {
  /** "memory", "cpu", …: on version 1 it says which hierarchy. */
  readonly controller: string;
  /** The first that the kernel has is written. */
  readonly files: readonly { readonly file: string; readonly value: string }[];
  /** "the limit of memory", for people. */
  readonly what: string;
  /** Where the kernel has no such file nothing is lost: it takes a limit away, or says what is only a favour. */
  readonly mayLack: boolean;
}

/** What the group has now, as far as the list depends on it. */
export interface KnobsSeen {
  /** Takes limits away too; false for a group that was made a moment ago. */
  readonly resets: boolean;
  /** Memory and swap together; undefined: no limit. */
  readonly memorySwapBytes: number | undefined;
  /** Numbers of the devices that have a limit or a weight. */
  readonly ioDevices: readonly string[];
  /** "2MB", …: those of the machine. */
  readonly hugepageSizes: readonly string[];
  /** Of the group above, for those that are taken over from it. */
  readonly parentCpus: string;
  readonly parentMems: string;
}

export const newGroup: KnobsSeen = {
  resets: false,
  memorySwapBytes: undefined,
  ioDevices: [],
  hugepageSizes: [],
  parentCpus: '',
  parentMems: '',
};

/** One value or none; undefined: the limit is taken away, by writing `otherwise`. */
export function knob(
  controller: string,
  file: string,
  wanted: {
    readonly what: string;
    readonly value: number | string | undefined;
    readonly otherwise: string;
    readonly seen: KnobsSeen;
  },
): readonly Knob[] {
  const { what, value, otherwise, seen } = wanted;
  if (value === undefined && !seen.resets) return [];
  const mayLack = value === undefined;
  return [{ controller, files: [{ file, value: String(value ?? otherwise) }], what, mayLack }];
}
