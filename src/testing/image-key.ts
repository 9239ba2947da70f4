const LINE_BYTES = 64;

/**
 * A key that equal images share, kept up to date while an image changes line by line: so a crash state that was judged
 * before is known without building it.
 */
export class ImageKey {
  #a = 0;
  #b = 0;

  /** Line `number` changes from one content to another. */
  replace(number: number, before: Uint8Array, after: Uint8Array): void {
    this.#add(number, before);
    this.#add(number, after);
  }

  /** The key of the image with a store applied to it. */
  store(image: Uint8Array, offset: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const at = offset + done;
      const start = at - (at % LINE_BYTES);
      const count = Math.min(start + LINE_BYTES - at, bytes.length - done);
      const before = image.slice(start, start + LINE_BYTES);
      image.set(bytes.subarray(done, done + count), at);
      this.replace(start / LINE_BYTES, before, image.subarray(start, start + LINE_BYTES));
      done += count;
    }
  }

  copy(): ImageKey {
    const copy = new ImageKey();
    copy.#a = this.#a;
    copy.#b = this.#b;
    return copy;
  }

  /** 53 bits: enough that two of a million images rarely meet. */
  get value(): number {
    return (this.#a >>> 0) * 2 ** 21 + (this.#b >>> 11);
  }

  // Adding a line twice takes it out again, so the order of changes does not matter.
  #add(number: number, content: Uint8Array): void {
    let a = Math.imul(number + 1, 0x9e3779b1);
    let b = Math.imul(number + 7, 0x27d4eb2f);
    for (const byte of content) {
      a = Math.imul(a ^ byte, 0x01000193) ^ (a >>> 13);
      b = (Math.imul(b ^ byte, 0x85ebca6b) + (b >>> 15)) | 0;
    }
    this.#a ^= a;
    this.#b ^= b;
  }
}
