/** Bytes that reach a memory together or not at all, store by store: a line of the processor's cache. */
export const lineBytes = 64;
const LINE_WORDS: number = lineBytes / 4;

/**
 * A key that equal images share: the XOR of one hash a line. So a line is exchanged without looking at the others, and
 * a crash state that was judged before is known without building it.
 */
export class ImageKey {
  a: number;
  b: number;

  constructor(a = 0, b = 0) {
    this.a = a;
    this.b = b;
  }

  /** Takes the hash of a line in, or out again. */
  toggle({ a, b }: ImageKey): void {
    this.a ^= a;
    this.b ^= b;
  }

  copy(): ImageKey {
    return new ImageKey(this.a, this.b);
  }

  /** 53 bits: enough that two of a million images rarely meet. */
  get value(): number {
    return (this.a >>> 0) * 2 ** 21 + (this.b >>> 11);
  }
}

/** The hash of line `number`, whose content starts at word `at`. */
export function lineKey(number: number, words: Uint32Array, at: number): ImageKey {
  let a = Math.imul(number + 1, 0x9e3779b1);
  let b = Math.imul(number + 7, 0x27d4eb2f);
  for (let k = at; k < at + LINE_WORDS; k++) {
    const word = words[k];
    a = Math.imul(a ^ word, 0x85ebca6b);
    a = (a << 13) | (a >>> 19);
    b = Math.imul((b ^ (b >>> 15)) + word, 0xc2b2ae35);
  }
  // The lines are put together by XOR, so every bit must depend on every other.
  a = Math.imul(a ^ (a >>> 16), 0x21f0aaad);
  b = Math.imul(b ^ (b >>> 15), 0x735a2d97);
  return new ImageKey(a ^ (a >>> 15), b ^ (b >>> 16));
}
