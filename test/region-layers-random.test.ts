/**
 * Hazard: a layer that shows what it should not, after some order of snapshots, clones, writes, trims, shrinks,
 * promotions, deletes and undeletes that nobody thought of. Every instance is compared with a full copy in ordinary
 * memory: through the region, by the independent reader, by a reader of ours, and after every end of the owner.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { PageRegion } from "../src/region/index.ts";
import { seeded } from "../src/testing/index.ts";
import { compare, LayeredWork, ReaderMemory, shownBy } from "./support/layered.ts";
import { freshRegion } from "./support/region.ts";
import { seed } from "./support/seed.ts";

const ROUNDS = Number(process.env["PERDURE_LAYER_ROUNDS"] ?? 12);
const STEPS = 250;

test(`every layer shows what a full copy would (PERDURE_SEED=${seed})`, () => {
  const random = seeded(seed);
  for (let round = 0; round < ROUNDS; round++) {
    const work = new LayeredWork(random, freshRegion(900, { checksums: round % 3 === 2, chunkPages: 64 }));
    const atStart = work.trial.region.info().freePages;
    for (let k = 0; k < STEPS; k++) {
      const label = `seed ${seed}, round ${round}, step ${k}: ${work.step()}`;
      compare(work.trial, work.world, label);
      if (random() < 0.05) {
        const reader = PageRegion.attach(new ReaderMemory(work.trial.recording.recorded));
        assert.equal(shownBy(reader), work.world.text(), `${label}, to a reader`);
      }
      const dice = random();
      if (dice < 0.02) work.trial.region[Symbol.dispose]();
      if (dice < 0.05) {
        work.reopen(work.trial.recording.recorded);
        compare(work.trial, work.world, `${label}, reopened`);
      }
    }
    refuseLeaks(work, atStart, `seed ${seed}, round ${round}`);
  }
});

/** Everything goes, in a random order, and with it every page but those of the directory. */
function refuseLeaks(work: LayeredWork, atStart: number, label: string): void {
  const { region, recording } = work.trial;
  for (const { name } of region.deleted("crash")) region.purge("crash", name);
  for (let left = region.list("crash"); left.length > 0; left = region.list("crash")) {
    const { name } = left[Math.floor(work.random() * left.length)];
    region.instance("crash", name).purge();
    work.world.instances.delete(name);
    compare(work.trial, work.world, `${label}, without ${name}`);
  }
  let directoryPages = 0;
  const view = new DataView(recording.recorded.buffer);
  for (let page = 0; page < 900; page++) if (view.getUint32(4096 + 8 * page + 4, true) >>> 28 === 3) directoryPages++;
  assert.equal(region.info().freePages, atStart - directoryPages, `${label}: pages leaked`);
}
