// Regions in ordinary memory, for tests of everything that needs no mapping.

import { crc32, type ErrorCode } from "../../src/base/index.ts";
import { formatMemory } from "../../src/format/index.ts";
import { type FormatOptions, nativeFormat, PageRegion } from "../../src/region/index.ts";
import { Recording, RecordingMemory } from "../../src/testing/index.ts";

/** A region and the memory that it lives in. */
export interface Trial {
  readonly recording: Recording;
  readonly region: PageRegion;
}

/** A formatted image of `pages` pages. */
export function formattedImage(pages: number, options: FormatOptions = {}): Uint8Array {
  const memory = RecordingMemory.blank(pages * (options.pageBytes ?? 512));
  formatMemory(memory, nativeFormat({ pageBytes: 512, ...options }));
  return memory.recording.image;
}

/** Opens a copy of an image. */
export function openCopy(image: Uint8Array): Trial {
  const recording = new Recording(image.slice());
  return { recording, region: PageRegion.attach(new RecordingMemory(recording)) };
}

/** A fresh region of small pages, open. */
export function freshRegion(pages = 320, options: FormatOptions = {}): Trial {
  return openCopy(formattedImage(pages, options));
}

/** What the next owner finds when this one dies now. */
export function afterDeath({ recording }: Trial): Trial {
  return openCopy(recording.image);
}

/** What the next owner finds after a close. */
export function afterClose({ recording, region }: Trial): Trial {
  region[Symbol.dispose]();
  return openCopy(recording.image);
}

/** The region itself, then what the next owner finds after a death of this one, then after its close. */
export function* everyLife(trial: Trial): Generator<Trial, void, undefined> {
  yield trial;
  yield afterDeath(trial);
  yield afterClose(trial);
}

/** What `assert.throws` compares an error of ours with. */
export function refusal(code: ErrorCode): { name: string; code: ErrorCode } {
  return { name: "PerdureError", code };
}

/** One line for each instance that has a name: everything that a user can see of it. */
export function describeInstances(region: PageRegion): string[] {
  return region.list().map(({ subsystem, name, sizeBytes, schema, readOnly, parent, quota }) => {
    const instance = region.instance(subsystem, name);
    const pages = Array.from(instance.indices(), (index) => `${index}=${crc32(instance.read(index))}`);
    const attributes = Buffer.from(instance.attributes).toString("hex");
    const layer = `${readOnly ? "snapshot" : "live"} on ${parent}, quota ${quota.minPages} to ${quota.maxPages}`;
    return [subsystem, name, sizeBytes, schema, attributes, layer, ...pages].join(" ");
  });
}

/** Everything that a user can see of a region. */
export function describeRegion(region: PageRegion): string {
  const deleted = region.deleted().map(({ name, pages }) => `deleted ${name} of ${pages} pages`);
  return [`${region.info().freePages} free`, ...describeInstances(region), ...deleted].join("\n");
}
