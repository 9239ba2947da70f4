import { rmSync } from "node:fs";
import { join } from "node:path";
import { formatSize } from "../src/base/index.ts";
import type { AllocResult, AllocTask, AllocWay } from "./alloc-child.ts";
import { runChild } from "./child.ts";
import { makeImage } from "./image.ts";
import type { Scale } from "./scale.ts";
import { ratios, summarize } from "./statistics.ts";
import { figure, type Report, span } from "./table.ts";

/** Nanoseconds for allocating and freeing a page that is not zeroed. */
const goalNs = 60;
const fills = [0.1, 0.99];
const names: Readonly<Record<AllocWay, string>> = {
  claim: "claim and withdraw",
  churn: "claim, withdraw a random page",
  ensure: "ensure and free of an instance",
  zero: "zeroing a page, nothing else",
};

/** Measures allocation with free, by size and fill of the region. */
export async function benchAlloc(scale: Scale, folder: string): Promise<Report> {
  const rows: string[][] = [];
  for (const fill of fills) {
    for (const sizeBytes of scale.claimSizes) {
      rows.push(...(await measure(scale, folder, { sizeBytes, fill, ways: ["claim", "churn"] })));
    }
  }
  for (const fill of fills) {
    for (const sizeBytes of scale.ensureSizes) {
      rows.push(...(await measure(scale, folder, { sizeBytes, fill, ways: ["ensure", "zero"] })));
    }
  }
  return {
    title: "Allocating and freeing a page",
    head: ["size", "fill", "what", "median", "min–max", "goal", "of goal", "to zeroing"],
    rows,
    notes: [
      `Medians of ${scale.allocRounds} rounds of ${scale.allocPairs} pairs (allocate, free); free pages lie at random.`,
      "Fill counts the pages above the reserve that only overwriting may use; at least one of them is free.",
      '"Claim" has no payload and is measured on holes. "Ensure" zeroes the page; every page it may get exists before.',
    ],
  };
}

interface Case {
  readonly sizeBytes: number;
  readonly fill: number;
  readonly ways: readonly AllocWay[];
}

async function measure(scale: Scale, folder: string, { sizeBytes, fill, ways }: Case): Promise<string[][]> {
  const path = join(folder, "alloc.region");
  makeImage(path, { sizeBytes, fill, placement: "random" });
  const task: AllocTask = { path, ways, rounds: scale.allocRounds, pairs: scale.allocPairs };
  const result = await runChild<AllocResult>("alloc-child", task);
  rmSync(path);
  return ways.map((way) => {
    const values = result[way] as number[];
    const summary = summarize(values);
    const hasGoal = way === "claim" || way === "churn";
    return [
      formatSize(sizeBytes),
      `${fill * 100} %`,
      names[way],
      `${figure(summary.median)} ns`,
      span(summary),
      hasGoal ? `${goalNs} ns` : "",
      hasGoal ? `${((100 * summary.median) / goalNs).toFixed(0)} %` : "",
      result.zero === undefined ? "" : `${figure(ratios(values, result.zero).median)}×`,
    ];
  });
}
