const FIRST_PLACES = 2 ** 12;
/** No key of an image is negative. */
const EMPTY = -1;

/** A set of image keys that stays small with millions of them: one array, each key at the first free place. */
export class KeySet {
  #places = new Float64Array(FIRST_PLACES).fill(EMPTY);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** @returns false when the key was there already */
  add(key: number): boolean {
    const at = this.#find(key);
    if (this.#places[at] === key) return false;
    this.#places[at] = key;
    this.#size++;
    if (2 * this.#size > this.#places.length) this.#grow();
    return true;
  }

  #find(key: number): number {
    const mask = this.#places.length - 1;
    // The high bits of a key are those of another hash than the low ones.
    let at = (Math.floor(key / 2 ** 21) ^ (key % 2 ** 21)) & mask;
    while (this.#places[at] !== EMPTY && this.#places[at] !== key) at = (at + 1) & mask;
    return at;
  }

  #grow(): void {
    const old = this.#places;
    this.#places = new Float64Array(2 * old.length).fill(EMPTY);
    for (const key of old) if (key !== EMPTY) this.#places[this.#find(key)] = key;
  }
}
