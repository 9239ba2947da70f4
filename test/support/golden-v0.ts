/**
 * Makes the golden image of format version 0. It was made by the code of commit 60f9858, the last of that version, and
 * is never made again; this tells how it was done, in a clone of that commit:
 *
 *     cp test/support/golden-{text,v0}.ts CLONE/test/support/ && cd CLONE && npx tsc -p tsconfig.json
 *     node dist/test/support/golden-v0.js > v0.txt
 */
import { imageText } from "./golden-text.ts";
import { freshRegion, type Trial } from "./region.ts";

const PAGE = 512;

/** A page that repeats one word. */
function words(value: number): Uint8Array {
  return new Uint8Array(new Uint32Array(PAGE / 4).fill(value).buffer);
}

/** A disk with blocks, an instance with a run, one that was deleted, and one whose name is no ASCII. */
function fillV0(): Trial {
  const trial = freshRegion(192, { chunkPages: 64 });
  const { region } = trial;
  const disk = region.instance("disk", "pram0", { create: true, sizeBytes: 128 * PAGE });
  for (const index of [0, 1, 2, 64, 127]) disk.write(index, words(1000 + index));
  disk.write(1, words(2001));
  disk.free(2);
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

const { region, recording } = fillV0();
region[Symbol.dispose]();
process.stdout.write(imageText(recording.recorded));
