import { rmSync } from "node:fs";
import { join } from "node:path";
import { formatSize } from "../src/base/index.ts";
import { Region } from "../src/index.ts";
import type { Scale } from "./scale.ts";
import { ratios, summarize } from "./statistics.ts";
import { figure, type Report, span } from "./table.ts";

const PAGE_BYTES = 4096;
const acts = ["making the region", "writing new pages", "replacing them", "freeing them", "opening, closing"] as const;
type Times = Record<(typeof acts)[number], number[]>;

/** Measures what it costs to allocate memory as it is used, against reserving all of it: both in turns. */
export async function benchThin(scale: Scale, folder: string): Promise<Report> {
  const path = join(folder, "thin.region");
  const times = { thin: emptyTimes(), reserved: emptyTimes() };
  for (let round = 0; round <= scale.allocRounds; round++) {
    for (const kind of ["thin", "reserved"] as const) {
      const measured = await live(path, scale.diskBytes, kind === "thin");
      rmSync(path);
      if (round > 0) acts.forEach((act, k) => times[kind][act].push(measured[k]));
    }
  }
  return {
    title: "Thin regions: memory as it is used, against memory that is reserved",
    head: ["what", "thin", "min–max", "reserved", "min–max", "thin to reserved", "min–max"],
    rows: acts.map((act) => {
      const [thin, reserved] = [summarize(times.thin[act]), summarize(times.reserved[act])];
      const ratio = ratios(times.thin[act], times.reserved[act]);
      const shown = [thin, reserved].flatMap((one) => [`${figure(one.median)} ms`, span(one)]);
      return [act, ...shown, `${figure(ratio.median)}×`, span(ratio)];
    }),
    notes: [
      `Medians of ${scale.allocRounds} rounds on a region of ${formatSize(2 * scale.diskBytes)}, of which`,
      `${formatSize(scale.diskBytes)} are written in pages of 4 KiB, one after the other. Less is better.`,
    ],
  };
}

function emptyTimes(): Times {
  return Object.fromEntries(acts.map((act) => [act, [] as number[]])) as Times;
}

/** The life of a region. @returns how long each act took, ms */
async function live(path: string, bytes: number, thin: boolean): Promise<number[]> {
  const marks = [performance.now()];
  const mark = (): void => void marks.push(performance.now());
  const region = await Region.open(path, { create: true, size: 2 * bytes, thin });
  mark();
  const instance = region.instance("bench", "pages", { create: true });
  const pages = bytes / PAGE_BYTES;
  const content = new Uint8Array(PAGE_BYTES).fill(1);
  for (const _ of ["new", "replaced"]) {
    for (let index = 0; index < pages; index++) instance.write(index, content);
    mark();
  }
  for (let index = 1; index < pages; index++) instance.free(index);
  mark();
  await region.close();
  await (await Region.open(path)).close();
  mark();
  return marks.slice(1).map((end, k) => end - marks[k]);
}
