/**
 * Makes the golden images of format version 1: `node dist/test/support/golden-v1.js FOLDER`. Those in test/golden were
 * made by the first code of that version, and are kept for ever: this makes others beside them, never in their place.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Disk } from "../../src/disk/index.ts";
import { imageText } from "./golden-text.ts";
import { freshRegion, type Trial } from "./region.ts";

const PAGE = 512;

/** A page that repeats one word. */
function words(value: number): Uint8Array {
  return new Uint8Array(new Uint32Array(PAGE / 4).fill(value).buffer);
}

/** Of everything that the format knows, something. */
function fillV1(checksums: boolean): Trial {
  const trial = freshRegion(192, { chunkPages: 64, checksums });
  const { region } = trial;
  const disk = region.instance("disk", "pram0", { create: true, sizeBytes: 128 * PAGE });
  for (const index of [0, 1, 2, 64, 127]) disk.write(index, words(1000 + index));
  disk.setQuota({ minPages: 4, maxPages: 100 });
  const monday = disk.snapshot("monday");
  disk.write(1, words(2001));
  disk.free(2);
  const copy = monday.clone("copy");
  copy.write(3, words(4003));
  copy.free(0);
  copy.resize(100 * PAGE);
  copy.resize(128 * PAGE);
  const base = region.instance("disk", "base", { create: true, sizeBytes: 16 * PAGE });
  for (const index of [0, 1]) base.write(index, words(5000 + index));
  const hidden = base.snapshot("hidden");
  hidden.clone("twin").write(1, words(6001));
  hidden.purge();
  region.instance("test", "gone", { create: true }).write(0, words(7));
  region.instance("test", "gone").delete();
  const runs = region.instance("heap", "runs", { create: true });
  {
    using run = runs.ensureRun(4, 2);
    run.bytes.set(words(3000), PAGE);
    run.persist();
  }
  const options = { create: true, schema: 42, attributes: Uint8Array.of(1, 2, 3) };
  region.instance("app", "Grüße", options).write(5, Buffer.from("text"));
  return trial;
}

/** A kill in the middle of a snapshot, behind its commit, with a save, a volatile page and a trim on the way. */
function killed(): Uint8Array {
  const { region, recording } = fillV1(false);
  const app = region.instance("app", "Grüße");
  const save = region.instance("app", "save", { pending: true, source: { subsystem: "app", name: "Grüße" } });
  app.handOver(5, save, 5);
  region.instance("heap", "runs").ensureVolatile(0)[Symbol.dispose]();
  const disk = region.instance("disk", "pram0");
  new Disk(region, disk).trim(64 * PAGE, PAGE);
  const image = recording.recorded.slice();
  recording.events = [];
  disk.snapshot("tuesday");
  // The first slot of the record that has the new name commits; of the second slot half is stored.
  let committed = false;
  for (const event of recording.events) {
    if (event.kind !== "store") continue;
    image.set(committed ? event.bytes.subarray(0, PAGE / 2) : event.bytes, event.offset);
    if (committed) break;
    committed = Buffer.from(event.bytes).includes("tuesday");
  }
  return image;
}

function closed(checksums: boolean): Uint8Array {
  const { region, recording } = fillV1(checksums);
  region[Symbol.dispose]();
  return recording.recorded;
}

const [folder] = process.argv.slice(2);
const write = (name: string, image: Uint8Array): void => writeFileSync(join(folder, name), imageText(image));
write("v1-closed.txt", closed(false));
write("v1-checksums.txt", closed(true));
write("v1-killed.txt", killed());
