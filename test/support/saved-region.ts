// Regions with something to lose, and the check that what was refused lost nothing of it.

import assert from "node:assert/strict";
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { crc32 } from "node:zlib";
import { type ErrorCode, type Instance, isPerdureError, type PerdureError, Region } from "../../src/index.ts";
import { Recording, RecordingMemory } from "../../src/testing/index.ts";
import { memoryFolder } from "./cli.ts";
import { formattedImage } from "./region.ts";

export const pageBytes = 512;
export const sevens: Uint8Array = new Uint8Array(pageBytes).fill(7);

/** Runs what must be refused: with this code, a message that names the thing, and nothing changed in the folder. */
export async function refused(
  code: ErrorCode,
  names: string,
  folder: string | undefined,
  act: () => unknown,
): Promise<void> {
  const before = folder === undefined ? [] : contentOf(folder);
  const error = await Promise.resolve()
    .then(act)
    .then(
      () => assert.fail(`${code} was expected, and nothing was thrown`),
      (thrown: unknown) => thrown as PerdureError,
    );
  assert.ok(isPerdureError(error, code), `${code} was expected: ${error.stack}`);
  assert.ok(error.message.includes(names), `"${error.message}" names ${names}`);
  assert.match(error.remedy, /^\w.{15,}[^.]$/s);
  assert.deepEqual(folder === undefined ? [] : contentOf(folder), before);
}

/** Every entry of a folder with what it holds. */
export function contentOf(folder: string): unknown[] {
  return readdirSync(folder).map((name) => {
    const stats = lstatSync(join(folder, name));
    const content = stats.isFile() ? crc32(readFileSync(join(folder, name))) : undefined;
    return { name, mode: stats.mode, ino: stats.ino, size: stats.size, content };
  });
}

/** A closed region in a file, with one page of sevens at index 3 of the instance "kept". */
export async function savedRegion(t: TestContext): Promise<{ folder: string; path: string; page: number }> {
  const folder = memoryFolder(t);
  const path = join(folder, "kept.region");
  const region = await Region.open(path, { create: true, size: "256K", pageSize: pageBytes });
  const page = keep(region);
  await region.close();
  return { folder, path, page };
}

/** The same region, open; it is closed when the test is over. */
export async function openRegion(
  t: TestContext,
): Promise<{ folder: string; path: string; region: Region; kept: Instance }> {
  let region: Region | undefined;
  // Comes before the folder is removed: a region whose file was deleted refuses its first close.
  t.after(() => region?.close());
  const { folder, path } = await savedRegion(t);
  region = await Region.open(path);
  return { folder, path, region, kept: region.instance("test", "kept") };
}

/** The same region as an image. */
export function savedImage(): { image: Uint8Array } {
  const memory = new RecordingMemory(new Recording(formattedImage(512, { pageBytes })));
  const region = Region.attach(memory);
  keep(region);
  region[Symbol.dispose]();
  return { image: memory.recording.image };
}

function keep(region: Region): number {
  const kept = region.instance("test", "kept", { create: true });
  kept.write(3, sevens);
  using page = kept.get(3);
  return page.number;
}
