import { rmSync } from "node:fs";
import { join } from "node:path";
import { formatSize } from "../src/base/index.ts";
import { runChild } from "./child.ts";
import { type Image, makeImage, type Placement } from "./image.ts";
import type { OpenResult, OpenTask } from "./open-child.ts";
import type { Scale } from "./scale.ts";
import { ratios, summarize } from "./statistics.ts";
import { figure, type Report, span } from "./table.ts";

const PAGE_BYTES = 4096;
/** Nanoseconds a page, of all pages of the region. */
const goals: Readonly<Record<Placement, number>> = { young: 15, runs: 30, random: 60 };
/** How much longer it may take in a process with a large heap. */
const heapGoalMs = 20;

/** One way to open; `warm` leaves the region as a kill does, so that `recovered` finds it so. */
interface Way {
  readonly name: string;
  readonly task: Omit<OpenTask, "path">;
  readonly start?: string;
}

/** Measures opening by size, fill and placement, each time as the first call in a fresh process. */
export async function benchOpen(scale: Scale, folder: string): Promise<Report> {
  const rows: string[][] = [];
  for (const image of imagesOf(scale)) {
    const path = join(folder, "open.region");
    makeImage(path, image);
    rows.push(...rowsOf(image, await measure(path, waysOf(scale), scale.openRepeats)));
    rmSync(path);
  }
  return {
    title: "Opening a region: the first call in a fresh process",
    head: ["size", "fill", "placement", "open as", "median", "min–max", "a page", "goal", "of goal", "to reading"],
    rows,
    notes: [
      `Medians of ${scale.openRepeats}, all ways in turn. "A page" is the time over all pages, free ones too.`,
      '"To reading" is the median ratio to reading the bytes of the frame table and adding up its words.',
      `"Heap" is ${formatSize(scale.heapBytes)} of live objects, collected; its goal counts from the row without.`,
      "A warm start verifies the checksums of the last close, a recovered one has none.",
      "Data pages are holes: opening never touches them.",
    ],
  };
}

function imagesOf({ openSizes }: Scale): Image[] {
  const placements: Placement[] = ["young", "runs", "random"];
  const largest = openSizes[openSizes.length - 1];
  const fills = [0.1, 0.99].map((fill) => ({ sizeBytes: largest, fill, placement: "young" as const }));
  return [
    ...openSizes.flatMap((sizeBytes) => placements.map((placement) => ({ sizeBytes, fill: 0.8, placement }))),
    ...fills,
  ];
}

function waysOf({ heapBytes }: Scale): Way[] {
  const writer = { as: "writer", heapBytes: 0, close: true } as const;
  return [
    { name: "table", task: { ...writer, as: "table" } },
    { name: "reader", task: { ...writer, as: "reader" }, start: "warm" },
    { name: "writer, warm", task: { ...writer, close: false }, start: "warm" },
    { name: "writer, recovered", task: writer, start: "recovered" },
    { name: "writer, warm, heap", task: { ...writer, heapBytes }, start: "warm" },
  ];
}

async function measure(path: string, ways: readonly Way[], repeats: number): Promise<Map<string, number[]>> {
  const times = new Map(ways.map(({ name }) => [name, [] as number[]]));
  for (let repeat = 0; repeat < repeats; repeat++) {
    for (const { name, task, start } of ways) {
      const result = await runChild<OpenResult>("open-child", { ...task, path });
      if (start !== undefined && result.start !== start) throw new Error(`the start "${name}" was ${result.start}`);
      times.get(name)?.push(result.ms);
    }
  }
  return times;
}

function rowsOf({ sizeBytes, fill, placement }: Image, times: Map<string, number[]>): string[][] {
  const pages = sizeBytes / PAGE_BYTES;
  const floor = times.get("table") as number[];
  const warm = summarize(times.get("writer, warm") as number[]).median;
  return [...times].map(([name, values]) => {
    const { median, ...rest } = summarize(values);
    const pageNs = (median * 1e6) / pages;
    const isHeap = name.endsWith("heap");
    const goal = isHeap ? `+${heapGoalMs} ms` : `${goals[placement]} ns`;
    const ofGoal = isHeap ? (median - warm) / heapGoalMs : pageNs / goals[placement];
    return [
      formatSize(sizeBytes),
      `${fill * 100} %`,
      placement,
      name,
      `${figure(median)} ms`,
      span({ median, ...rest }),
      `${figure(pageNs)} ns`,
      name === "table" ? "" : goal,
      name === "table" ? "" : `${(100 * ofGoal).toFixed(0)} %`,
      `${figure(ratios(values, floor).median)}×`,
    ];
  });
}
