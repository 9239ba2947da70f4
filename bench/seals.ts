import { rmSync } from "node:fs";
import { join } from "node:path";
import { formatSize } from "../src/base/index.ts";
import { type Instance, PageRegion } from "../src/region/index.ts";
import { randomFrom } from "./image.ts";
import type { Scale } from "./scale.ts";
import { ratios, summarize } from "./statistics.ts";
import { figure, type Report, span } from "./table.ts";

const PART_BYTES = 512;
const SEED = 11;
/** The steps here are longer than those of an allocation, and this many times fewer make a round. */
const FEWER = 10;

/** One thing that is measured, by the instance and the index that it is done to. */
type Way = (instance: Instance, index: number) => void;

/** What checksums of content cost: the same steps in two regions in turn, one without and one with them. */
export async function benchSeals(scale: Scale, folder: string): Promise<Report> {
  const sizeBytes = scale.diskBytes;
  const regions = await Promise.all([false, true].map((checksums) => filledRegion(folder, sizeBytes, checksums)));
  const [plain, sealed] = regions.map((region) => region.instance("bench", "pages"));
  const count = Math.ceil(scale.allocPairs / FEWER);
  const rows = Object.entries(waysFor(regions[0].pageBytes)).map(([what, way]) => {
    const without: number[] = [];
    const withThem: number[] = [];
    for (let round = 0; round <= scale.allocRounds; round++) {
      const figures = [plain, sealed].map((instance) => measure(instance, way, count));
      if (round === 0) continue;
      without.push(figures[0]);
      withThem.push(figures[1]);
    }
    const ratio = ratios(withThem, without);
    const [before, after] = [summarize(without).median, summarize(withThem).median];
    return [what, `${figure(before)} ns`, `${figure(after)} ns`, `${figure(ratio.median)}×`, span(ratio)];
  });
  const scrub = await measureScrub(regions[1], sizeBytes, scale.allocRounds);
  for (const region of regions) {
    await region.close();
    rmSync(region.source);
  }
  return {
    title: "Checksums of content",
    head: ["what", "without", "with", "ratio", "min–max"],
    rows,
    notes: [
      `Medians of ${scale.allocRounds} rounds of ${count} steps on random pages of 4 KiB.`,
      `Each region has ${formatSize(sizeBytes)} of them, so that most steps miss the cache.`,
      `A scrub reads ${figure(scrub)} MiB/s, in turns of the event loop.`,
    ],
  };
}

async function filledRegion(folder: string, sizeBytes: number, checksums: boolean): Promise<PageRegion> {
  const path = join(folder, `seals-${checksums}.region`);
  const region = await PageRegion.open(path, { create: true, size: sizeBytes * 1.25, checksums });
  const instance = region.instance("bench", "pages", { create: true, sizeBytes });
  const content = new Uint8Array(region.pageBytes).fill(1);
  for (let index = 0; index < sizeBytes / region.pageBytes; index++) instance.write(index, content);
  return region;
}

function waysFor(pageBytes: number): Record<string, Way> {
  const random = randomFrom(SEED);
  const whole = Uint8Array.from({ length: pageBytes }, () => random());
  const part = whole.slice(0, PART_BYTES);
  return {
    "write a page": (instance, index) => instance.write(index, whole),
    [`write ${PART_BYTES} bytes of one`]: (instance, index) => instance.write(index, part, PART_BYTES),
    "read a page": (instance, index) => instance.readInto(index, 0, whole),
    [`read ${PART_BYTES} bytes of one`]: (instance, index) => instance.readInto(index, PART_BYTES, part),
    "hold a page, let it go": (instance, index) => instance.get(index)[Symbol.dispose](),
  };
}

/** Nanoseconds a step; both regions are given the same indices. */
function measure(instance: Instance, way: Way, count: number): number {
  const random = randomFrom(SEED);
  const began = process.hrtime.bigint();
  for (let k = 0; k < count; k++) way(instance, random() % instance.pageCount);
  return Number(process.hrtime.bigint() - began) / count;
}

async function measureScrub(region: PageRegion, sizeBytes: number, rounds: number): Promise<number> {
  const figures: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    const began = performance.now();
    const { damagedPages } = await region.scrub();
    if (damagedPages > 0) throw new Error("the benchmark has damaged its region");
    if (round > 0) figures.push((1000 * sizeBytes) / 2 ** 20 / (performance.now() - began));
  }
  return summarize(figures).median;
}
