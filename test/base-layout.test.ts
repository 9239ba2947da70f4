/**
 * Hazard: a structure on media that is decoded to something else than what was encoded. Names are what instances are
 * found by, so text must come back letter for letter.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { bytes, isSealed, Layout, seal, text, u32, u32Array, u64 } from "../src/base/index.ts";

const layout = new Layout("sample", 128, {
  small: u32(0, "a"),
  large: u64(8, "b"),
  list: u32Array(16, 3, "c"),
  raw: bytes(28, 4, "d"),
  name: text(32, 32, "e"),
  crc: u32(124, "f"),
});
const fits = (value: string): boolean => Buffer.byteLength(value) < 32;

test("what is encoded is decoded, whatever stands around it", () => {
  const u32s = fc.integer({ min: 0, max: 2 ** 32 - 1 });
  const fields = {
    small: u32s,
    large: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
    list: fc.array(u32s, { minLength: 3, maxLength: 3 }),
    raw: fc.uint8Array({ minLength: 4, maxLength: 4 }),
    name: fc.string({ unit: "grapheme" }).filter(fits),
    crc: u32s,
  };
  const values = fc.record(fields, { noNullPrototype: true });
  fc.assert(
    fc.property(values, (given) => {
      const around = new Uint8Array(140).fill(0xaa);
      around.set(layout.encode(given), 5);
      assert.deepEqual(layout.decode(around.subarray(5)), given);
    }),
  );
});

test("text keeps every letter, also one that a decoder takes for a byte order mark", () => {
  for (const name of ["\ufeffa", "a\ufeff", "ä".repeat(15), "😀", "a\0b", ""]) {
    assert.equal(layout.decode(layout.encode({ name })).name, name);
  }
});

test("a length byte beyond the field reads no further than the field", () => {
  const encoded = layout.encode({ name: "abc", crc: 0x41414141 });
  encoded[32] = 255;
  assert.equal(layout.decode(encoded).name.length, 31);
});

test("a u64 above 2^53 reads as NaN, and is never written", () => {
  const encoded = layout.encode({});
  encoded.fill(0xff, 8, 16);
  assert.ok(Number.isNaN(layout.decode(encoded).large));
  for (const large of [-1, 0.5, 2 ** 53, Number.NaN]) assert.throws(() => layout.encode({ large }));
});

test("values that do not fit their field are refused", () => {
  assert.throws(() => layout.encode({ name: "x".repeat(32) }));
  assert.throws(() => layout.encode({ raw: new Uint8Array(5) }));
  assert.throws(() => layout.encode({ list: [1, 2, 3, 4] }));
  assert.throws(() => layout.decode(new Uint8Array(127)));
});

test("fields that overlap or do not fit cannot be declared", () => {
  assert.throws(() => new Layout("overlap", 8, { a: u32(0, "a"), b: u32(2, "b") }));
  assert.throws(() => new Layout("too long", 6, { a: u32(0, "a"), b: u32(4, "b") }));
});

test("a seal breaks with any bit before it", () => {
  const sealed = seal(layout.encode({ name: "sealed", small: 7 }), layout.fields.crc);
  assert.ok(isSealed(sealed, layout.fields.crc));
  for (let bit = 0; bit < 8 * 128; bit++) {
    sealed[bit >>> 3] ^= 1 << (bit & 7);
    assert.ok(!isSealed(sealed, layout.fields.crc), `bit ${bit}`);
    sealed[bit >>> 3] ^= 1 << (bit & 7);
  }
});
