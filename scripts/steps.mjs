// The steps of `npm run check`, which `npm test` takes first. Each prints one line, or what its tool found.

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { capture, tool, userNode } from "./run.mjs";
import { build } from "./setup.mjs";

/** The compiler comes first: it writes what the steps on the package and the tests look at. */
export const steps = [
  { name: "types", run: build },
  { name: "lint", run: () => runTool("oxlint", "--type-aware", "--deny-warnings") },
  { name: "format", run: () => runTool("biome", "check", "--error-on-warnings") },
  { name: "dead code", run: () => runTool("knip") },
  { name: "package", run: () => onTarball((file) => runTool("publint", "run", "--strict", file)) },
  { name: "package types", run: () => onTarball((file) => runTool("attw", "--profile", "esm-only", file)) },
  { name: "house rules", run: () => capture(userNode, ["--test", "dist/test/tidy.test.js"]) },
];

/**
 * Runs the steps, also after one that fails.
 * @returns {Promise<{ passed: number, failed: number }>}
 */
export async function runSteps(chosen) {
  const failures = [];
  for (const { name, run } of chosen) {
    const start = performance.now();
    const { code, output } = await run();
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    console.log(code === 0 ? `ok ${name} ${seconds} s` : `${output.trimEnd()}\nfailed: ${name} ${seconds} s`);
    if (code !== 0) failures.push(name);
  }
  return { passed: chosen.length - failures.length, failed: failures.length };
}

function runTool(name, ...args) {
  return capture(userNode, [tool(name), ...args]);
}

/** Runs a check on the package as users would install it. */
async function onTarball(check) {
  const folder = mkdtempSync(join(tmpdir(), "perdure-pack-"));
  try {
    const packed = await capture("npm", ["pack", "--pack-destination", folder]);
    return packed.code === 0 ? await check(join(folder, readdirSync(folder)[0])) : packed;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
