/** A seeded source of random numbers, so that a failing run can be repeated: `random()` is in [0, 1). */
export type Random = () => number;

/** Mulberry32: small, and good enough to choose operations with. */
export function seeded(seed: number): Random {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A whole number from 0 to below `bound`. */
export function below(random: Random, bound: number): number {
  return Math.floor(random() * bound);
}

/** One of the values. */
export function pick<T>(random: Random, values: readonly T[]): T {
  return values[below(random, values.length)];
}
