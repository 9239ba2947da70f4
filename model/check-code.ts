import { FREE, type Name } from "./layout.ts";

/**
 * The 7-bit check of a frame entry: a linear code over the 64 bits of the entry whose columns are distinct and of odd
 * weight, mixed with the page number. The check stands in bits 19 to 25 of the claim, whose columns are the unit ones.
 */
const checkShift = 19;
const checkBits = 7;

const weight = (value: number): number => (value === 0 ? 0 : (value & 1) + weight(value >>> 1));
const oddColumns: number[] = Array.from({ length: 128 }, (_, value) => value).filter(
  (value) => weight(value) % 2 === 1,
);
const wideColumns: number[] = oddColumns.filter((value) => weight(value) > 1);

const indexColumns: number[] = wideColumns.slice(0, 32);
const claimColumns: number[] = Array.from({ length: 32 }, (_, bit) => {
  if (bit < checkShift) return wideColumns[32 + bit];
  return bit < checkShift + checkBits ? 1 << (bit - checkShift) : wideColumns[32 + bit - checkBits];
});
const pageColumns: number[] = Array.from({ length: 32 }, (_, bit) => wideColumns[(bit * 5 + 3) % wideColumns.length]);

const indexTables: Uint8Array[] = tables(indexColumns);
const claimTables: Uint8Array[] = tables(claimColumns);
const pageTables: Uint8Array[] = tables(pageColumns);

/** The sum of the columns of all set bits: 0 for a good entry. */
export function syndrome(page: number, index: number, claim: number): number {
  return lookUp(pageTables, page) ^ lookUp(indexTables, index) ^ lookUp(claimTables, claim);
}

/** A claim word: kind:4, revision:2, check:7, owner:19. */
export function makeClaim(page: number, name: Name, revision: number): number {
  const bare = ((name.kind << 28) | (revision << 26) | name.owner) >>> 0;
  return (bare | (syndrome(page, name.index, bare) << checkShift)) >>> 0;
}

/** FREE covers the index that stands beside it, so that freeing is one 32-bit store. */
export function makeFree(page: number, index: number): number {
  return makeClaim(page, { owner: 0, kind: FREE, index }, 0);
}

export function kindOf(claim: number): number {
  return claim >>> 28;
}

export function revisionOf(claim: number): number {
  return (claim >>> 26) & 3;
}

export function ownerOf(claim: number): number {
  return claim & 0x7ffff;
}

/** One table a byte, for speed: the sums of the columns of its set bits. */
function tables(columns: number[]): Uint8Array[] {
  return [0, 8, 16, 24].map((first) =>
    Uint8Array.from({ length: 256 }, (_, value) => {
      let sum = 0;
      for (let bit = 0; bit < 8; bit++) if ((value >>> bit) & 1) sum ^= columns[first + bit];
      return sum;
    }),
  );
}

function lookUp(of: Uint8Array[], value: number): number {
  return of[0][value & 255] ^ of[1][(value >>> 8) & 255] ^ of[2][(value >>> 16) & 255] ^ of[3][value >>> 24];
}
