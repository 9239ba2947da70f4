// Images that are changed on purpose, with their checksums made right again: what a forger would do.

import { crc32, type Field, type Layout, seal } from "../../src/base/index.ts";
import { Shape } from "../../src/region/geometry.ts";
import {
  type Geometry,
  geometryLayout,
  lifeLayout,
  type RegionStateRecord,
  stateLayout,
  superblockOffsets,
} from "../../src/region/layout.ts";
import { Recording, RecordingMemory } from "../../src/testing/index.ts";

/** The memory that an image is of; what is stored there is stored into the image. */
export const memoryOf = (image: Uint8Array): RecordingMemory => new RecordingMemory(new Recording(image));

/** The geometry that an image states in its first place. */
export function geometryOf(image: Uint8Array): Geometry {
  return geometryLayout.decode(image);
}

/** Where things stand in an image. */
export function shapeOf(image: Uint8Array): Shape {
  return new Shape(geometryOf(image));
}

/** Changes raw bytes of the geometry, in its first place and in the copy. */
export function resealedGeometry(image: Uint8Array, change: (bytes: Uint8Array) => void): void {
  const { geometryCopyOffset } = shapeOf(image);
  const { crc } = geometryLayout.fields;
  const bytes = image.subarray(0, geometryLayout.sizeBytes);
  change(bytes);
  // Its sum leaves magic and type out: those are the registry's.
  crc.write(new DataView(image.buffer, image.byteOffset), crc32(bytes.subarray(12, crc.offset)));
  image.set(bytes.subarray(12), geometryCopyOffset + 12);
}

/** Changes fields of the geometry, in its first place and in the copy. */
export function forgeGeometry(image: Uint8Array, change: Partial<Geometry>): void {
  const encoded = geometryLayout.encode({ ...geometryOf(image), ...change });
  resealedGeometry(image, (bytes) => bytes.set(encoded.subarray(12), 12));
}

/** The state record in the first slot. */
export function stateOf(image: Uint8Array): RegionStateRecord {
  return stateLayout.decode(image.subarray(superblockOffsets.recordA));
}

/** Changes both slots of the state record. */
export function forgeState(image: Uint8Array, change: Partial<RegionStateRecord>): void {
  const encoded = seal(stateLayout.encode({ ...stateOf(image), ...change }), stateLayout.fields.crc);
  image.set(encoded, superblockOffsets.recordA);
  image.set(encoded, superblockOffsets.recordB);
}

/** Changes one bit, counted from the start of an image. */
export function flip(image: Uint8Array, bit: number): void {
  image[bit >>> 3] ^= 1 << (bit & 7);
}

/** Makes the head what it is while a memory is formatted. */
export function markFormatting(image: Uint8Array): void {
  image.set(Buffer.from("acadbaafb2bab2b4", "hex"));
}

/** Where the life of a generation is written. */
export function lifeOffset(generation: number): number {
  return superblockOffsets.lives + (generation % 16) * lifeLayout.sizeBytes;
}

/** Changes raw bytes of a structure and makes its CRC right again. */
export function resealed<F extends { crc: Field<number> } & Record<string, Field<unknown>>>(
  image: Uint8Array,
  offset: number,
  layout: Layout<F>,
  change: (bytes: Uint8Array) => void,
): void {
  const bytes = image.subarray(offset, offset + layout.sizeBytes);
  change(bytes);
  seal(bytes, layout.fields.crc);
}
