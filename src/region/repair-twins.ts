/** So many differing bits are tried in every combination: 1024 checksums. */
const MAX_DIFFERING_BITS = 10;

/**
 * Puts a record together from two slots that were written with the same bytes and are both damaged: where they differ
 * one of them is right, and the checksum says which.
 *
 * @returns undefined when no combination is good, or when they differ in too much
 */
export function mendTwins(
  a: Uint8Array,
  b: Uint8Array,
  isGood: (bytes: Uint8Array) => boolean,
): Uint8Array | undefined {
  const bits: number[] = [];
  for (let at = 0; at < a.length; at++) {
    for (let differ = a[at] ^ b[at]; differ !== 0; differ &= differ - 1) {
      bits.push(8 * at + 31 - Math.clz32(differ & -differ));
      if (bits.length > MAX_DIFFERING_BITS) return undefined;
    }
  }
  for (let choice = 0; choice < 2 ** bits.length; choice++) {
    const mixed = a.slice();
    for (const [k, bit] of bits.entries()) if (((choice >>> k) & 1) === 1) mixed[bit >>> 3] ^= 1 << (bit & 7);
    if (isGood(mixed)) return mixed;
  }
  return undefined;
}
