const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** How much is measured. */
export interface Scale {
  /** Region sizes to open, in bytes; the last one is also opened at other fills. */
  readonly openSizes: readonly number[];
  readonly openRepeats: number;
  /** Live objects in the heap of the process that is no empty one, in bytes. */
  readonly heapBytes: number;
  /** Region sizes in which pages are claimed and withdrawn, in bytes. */
  readonly claimSizes: readonly number[];
  /** Region sizes in which pages are made and freed through an instance, in bytes: all their pages come to exist. */
  readonly ensureSizes: readonly number[];
  readonly allocRounds: number;
  /** Pairs of allocation and free in one round. */
  readonly allocPairs: number;
  readonly nbdRepeats: number;
  readonly diskBytes: number;
  /** Connections at once, most of them idle. */
  readonly crowd: number;
  /** How long one run of fio measures. */
  readonly runtimeMs: number;
}

/** The scales by name. Figures are published from `full` only; `tiny` is for the tests. */
export const scales: Readonly<Record<"full" | "quick" | "tiny", Scale>> = {
  full: {
    openSizes: [1 * GIB, 4 * GIB, 16 * GIB],
    openRepeats: 7,
    heapBytes: 400 * MIB,
    claimSizes: [1 * MIB, 16 * GIB],
    ensureSizes: [1 * MIB, 1 * GIB],
    allocRounds: 9,
    allocPairs: 500_000,
    nbdRepeats: 5,
    diskBytes: 256 * MIB,
    crowd: 1000,
    runtimeMs: 3000,
  },
  quick: {
    openSizes: [1 * GIB, 16 * GIB],
    openRepeats: 5,
    heapBytes: 400 * MIB,
    claimSizes: [1 * MIB, 16 * GIB],
    ensureSizes: [1 * MIB, 1 * GIB],
    allocRounds: 5,
    allocPairs: 200_000,
    nbdRepeats: 3,
    diskBytes: 128 * MIB,
    crowd: 1000,
    runtimeMs: 1000,
  },
  tiny: {
    openSizes: [4 * MIB],
    openRepeats: 1,
    heapBytes: 8 * MIB,
    claimSizes: [1 * MIB],
    ensureSizes: [1 * MIB],
    allocRounds: 1,
    allocPairs: 1000,
    nbdRepeats: 1,
    diskBytes: 8 * MIB,
    crowd: 40,
    runtimeMs: 100,
  },
};
