// Hazard: a benchmark that no longer runs is found out on the day its figures are needed, and one that measures nothing
// is believed. How fast anything is, is not tested: that depends on the machine.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { benchAlloc } from "../bench/alloc.ts";
import { benchNbd } from "../bench/nbd.ts";
import { benchNbdCrowd } from "../bench/nbd-crowd.ts";
import { benchNbdTls } from "../bench/nbd-tls.ts";
import { benchOpen } from "../bench/open.ts";
import { scales } from "../bench/scale.ts";
import { scratchFolder } from "../bench/scratch.ts";
import { benchSeals } from "../bench/seals.ts";
import { ratios, summarize } from "../bench/statistics.ts";
import { type Report, render, renderMarkdown } from "../bench/table.ts";
import { benchThin } from "../bench/thin.ts";
import { requireTool } from "./support/tools.ts";

const run = promisify(execFile);
const main = fileURLToPath(new URL("../bench/main.js", import.meta.url));

describe("every benchmark runs and fills its table", () => {
  test("opening: each size, fill and placement in each way", async () => {
    using scratch = scratchFolder();
    const report = await benchOpen(scales.tiny, scratch.path);
    checkReport(report, { rows: 25, leftIn: scratch.path });
    assert.deepEqual([...new Set(report.rows.map((row) => row[2]))], ["young", "runs", "random"]);
  });

  test("allocation: each size and fill in each way", async () => {
    using scratch = scratchFolder();
    checkReport(await benchAlloc(scales.tiny, scratch.path), { rows: 8, leftIn: scratch.path });
  });

  test("thin regions: each act against a reserved one", async () => {
    using scratch = scratchFolder();
    checkReport(await benchThin(scales.tiny, scratch.path), { rows: 5, leftIn: scratch.path });
  });

  test("checksums: each step with and without", async () => {
    using scratch = scratchFolder();
    const report = await benchSeals(scales.tiny, scratch.path);
    checkReport(report, { rows: 5, leftIn: scratch.path });
    assert.match(report.notes[2], /reads [1-9]\d* MiB/);
  });

  test("NBD: each workload against each peer", async (t) => {
    if (!requireTool(t, "nbdkit", "qemu-nbd", "fio")) return;
    using scratch = scratchFolder();
    checkReport(await benchNbd(scales.tiny, scratch.path), { rows: 11, leftIn: scratch.path });
  });

  test("NBD with a crowd: without it and with it", async (t) => {
    if (!requireTool(t, "fio")) return;
    using scratch = scratchFolder();
    checkReport(await benchNbdCrowd(scales.tiny, scratch.path), { rows: 2, leftIn: scratch.path });
  });

  test("NBD under TLS: both directions", async (t) => {
    if (!requireTool(t, "nbdkit", "nbdcopy")) return;
    using scratch = scratchFolder();
    const left = { rows: 2, leftIn: scratch.path };
    checkReport(await benchNbdTls(scales.tiny, scratch.path), left);
  });
});

describe("the command", () => {
  test("runs what it is told to and names what another table must be held against", async () => {
    const { stdout } = await run(process.execPath, [main, "alloc", "--tiny"]);
    for (const what of ["perdure:", "node: v", "kernel:", "machine:", "scale: tiny", "claim and withdraw"]) {
      assert.ok(stdout.includes(what), `the output names ${what}`);
    }
  });

  test("refuses a benchmark that there is none of", async () => {
    await assert.rejects(run(process.execPath, [main, "opening"]), {
      code: 2,
      stderr: /choose of open, alloc, thin, seals, nbd, nbd-crowd, nbd-tls/,
    });
  });
});

test("the scratch folder goes with all it holds", () => {
  const scratch = scratchFolder();
  assert.ok(existsSync(scratch.path));
  scratch[Symbol.dispose]();
  assert.ok(!existsSync(scratch.path));
});

test("figures are summed up by their median and extremes, ratios one by one", () => {
  assert.deepEqual(summarize([5, 1, 100]), { min: 1, median: 5, max: 100 });
  assert.deepEqual(summarize([4, 2]), { min: 2, median: 3, max: 4 });
  assert.deepEqual(ratios([10, 30, 8], [5, 10, 8]), { min: 1, median: 2, max: 3 });
  assert.throws(() => summarize([]), /nothing was measured/);
});

/** Looks whether a report is whole, and whether its benchmark cleaned up. */
function checkReport(report: Report, expected: { rows: number; leftIn: string }): void {
  assert.equal(report.rows.length, expected.rows);
  for (const row of report.rows) {
    assert.equal(row.length, report.head.length);
    for (const cell of row) assert.doesNotMatch(cell, /NaN|Infinity|undefined/);
    assert.ok(
      row.some((cell) => /[1-9].*(?:ns|ms|k|MiB\/s|×)$/.test(cell)),
      `a figure in: ${row.join(" | ")}`,
    );
  }
  for (const text of [render(report), renderMarkdown(report)]) {
    for (const what of [report.title, ...report.head, ...report.notes]) assert.ok(text.includes(what), what);
  }
  assert.deepEqual(readdirSync(expected.leftIn), []);
}
