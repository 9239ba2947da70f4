import { crc32 } from "./crc32.ts";
import { assert } from "./errors.ts";

/** One field of a structure on media: where it stands, how it is read and written, what it means. */
export interface Field<Value> {
  readonly offset: number;
  readonly sizeBytes: number;
  readonly type: string;
  readonly meaning: string;
  read(view: DataView): Value;
  write(view: DataView, value: Value): void;
}

type Fields = Record<string, Field<unknown>>;
/** The plain object that a layout decodes to. */
export type Decoded<F extends Fields> = { [K in keyof F]: F[K] extends Field<infer Value> ? Value : never };

/** Unsigned 32-bit little-endian number. */
export function u32(offset: number, meaning: string): Field<number> {
  return {
    offset,
    sizeBytes: 4,
    type: "u32",
    meaning,
    read: (view) => view.getUint32(offset, true),
    write: (view, value) => view.setUint32(offset, value, true),
  };
}

/** Unsigned 64-bit little-endian number kept as a JavaScript number; what lies above 2^53 reads as NaN. */
export function u64(offset: number, meaning: string): Field<number> {
  return {
    offset,
    sizeBytes: 8,
    type: "u64",
    meaning,
    read: (view) => {
      const high = view.getUint32(offset + 4, true);
      return high < 2 ** 21 ? high * 2 ** 32 + view.getUint32(offset, true) : Number.NaN;
    },
    write: (view, value) => {
      assert(Number.isSafeInteger(value) && value >= 0, "a u64 field holds a whole number below 2^53");
      view.setUint32(offset, value % 2 ** 32, true);
      view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
    },
  };
}

/** `count` consecutive u32. */
export function u32Array(offset: number, count: number, meaning: string): Field<readonly number[]> {
  return {
    offset,
    sizeBytes: 4 * count,
    type: `u32[${count}]`,
    meaning,
    read: (view) => Array.from({ length: count }, (_, k) => view.getUint32(offset + 4 * k, true)),
    write: (view, value) => {
      assert(value.length <= count, "an array field has room for its values");
      value.forEach((word, k) => {
        view.setUint32(offset + 4 * k, word, true);
      });
    },
  };
}

/** `count` raw bytes. */
export function bytes(offset: number, count: number, meaning: string): Field<Uint8Array> {
  const at = (view: DataView): Uint8Array => new Uint8Array(view.buffer, view.byteOffset + offset, count);
  return {
    offset,
    sizeBytes: count,
    type: `byte[${count}]`,
    meaning,
    read: (view) => at(view).slice(),
    write: (view, value) => {
      assert(value.length <= count, "a byte field has room for its value");
      at(view).set(value);
    },
  };
}

const encoder = new TextEncoder();
// What looks like a byte order mark is a letter of the text: dropping it would make two names one.
const decoder = new TextDecoder("utf-8", { fatal: false, ignoreBOM: true });

/** UTF-8 text behind a length byte, in `count` bytes altogether. */
export function text(offset: number, count: number, meaning: string): Field<string> {
  const at = (view: DataView): Uint8Array => new Uint8Array(view.buffer, view.byteOffset + offset, count);
  return {
    offset,
    sizeBytes: count,
    type: `text[${count}]`,
    meaning,
    read: (view) => {
      const all = at(view);
      return decoder.decode(all.subarray(1, 1 + Math.min(all[0], count - 1)));
    },
    write: (view, value) => {
      const encoded = encoder.encode(value);
      assert(encoded.length < count, "a text field has room for its value");
      const all = at(view);
      all[0] = encoded.length;
      all.set(encoded, 1);
    },
  };
}

/**
 * A structure on media, declared once as a table of fields. Decoding, encoding and the format document come from
 * this table. Every byte that no field names is zero.
 */
export class Layout<F extends Fields> {
  readonly name: string;
  readonly sizeBytes: number;
  readonly fields: F;

  constructor(name: string, sizeBytes: number, fields: F) {
    this.name = name;
    this.sizeBytes = sizeBytes;
    this.fields = fields;
    let end = 0;
    for (const [key, field] of Object.entries(fields)) {
      assert(field.offset >= end, `${name}.${key} does not overlap the field before it`);
      end = field.offset + field.sizeBytes;
    }
    assert(end <= sizeBytes, `the fields of ${name} fit its size`);
  }

  /** Reads every field of the structure that starts at `source[0]`. */
  decode(source: Uint8Array): Decoded<F> {
    assert(source.length >= this.sizeBytes, `${this.name} is read whole`);
    const view = new DataView(source.buffer, source.byteOffset, this.sizeBytes);
    const values: Record<string, unknown> = {};
    for (const key in this.fields) values[key] = this.fields[key].read(view);
    return values as Decoded<F>;
  }

  /** Makes the bytes of the structure; fields that are not given are zero. */
  encode(values: Partial<Decoded<F>>): Uint8Array {
    const target = new Uint8Array(this.sizeBytes);
    const view = new DataView(target.buffer);
    for (const key in this.fields) {
      const value = values[key];
      if (value !== undefined) this.fields[key].write(view, value);
    }
    return target;
  }
}

/** Writes into `field` the CRC-32 of everything that stands before it. The field must be the last one. */
export function seal(encoded: Uint8Array, field: Field<number>): Uint8Array {
  field.write(new DataView(encoded.buffer, encoded.byteOffset), crc32(encoded.subarray(0, field.offset)));
  return encoded;
}

/** True when the CRC-32 in `field` is that of everything before it. */
export function isSealed(encoded: Uint8Array, field: Field<number>): boolean {
  const stored = field.read(new DataView(encoded.buffer, encoded.byteOffset));
  return stored === crc32(encoded.subarray(0, field.offset));
}
