// The table of what a run has done. Tests write figures to a file, a line of JSON at a time (test/support/figures.ts).

import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * Runs something whose tests write figures, and prints the sums: the last figures of a run.
 * @template Value
 * @param {(environment: Record<string, string>) => Promise<Value>} run is given what its programs need in theirs
 * @returns {Promise<Value>}
 */
export async function withFigures(run) {
  const folder = mkdtempSync(join(tmpdir(), "perdure-figures-"));
  const path = join(folder, "figures");
  try {
    return await run({ PERDURE_FIGURES: path });
  } finally {
    if (existsSync(path)) print(readFileSync(path, "utf8"));
    rmSync(folder, { recursive: true });
  }
}

function print(lines) {
  const sums = new Map();
  for (const line of lines.trim().split("\n")) {
    for (const [name, value] of Object.entries(JSON.parse(line))) sums.set(name, (sums.get(name) ?? 0) + value);
  }
  const rows = Array.from(sums, ([name, value]) => [name, value.toLocaleString("en-US")]).toSorted(([a], [b]) =>
    a.localeCompare(b),
  );
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row[column].length)));
  console.log(rows.map(([name, value]) => `${name.padEnd(widths[0])}  ${value.padStart(widths[1])}`).join("\n"));
}
