// Makes a fresh clone ready: dependencies, then the build. Quiet and quick when there is nothing to do. It runs before
// node_modules exists, so it is plain JavaScript on Node's own modules.

import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { capture, root, tool, userNode } from "./run.mjs";

const oldestNode = [20, 19];
const stamp = join(root, "node_modules/.perdure-lock-hash");
const dist = join(root, "dist");

/** Installs and builds what is missing or out of date; ends the process with a message where that fails. */
export async function setup() {
  await install();
  const { code, output } = await build();
  if (code !== 0) fail(`the build failed\n${output}`);
}

/** Installs the dependencies when package-lock.json is not the one they were installed from. */
export async function install() {
  await requireNode();
  const lock = createHash("sha256")
    .update(readFileSync(join(root, "package-lock.json")))
    .digest("hex");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === lock) return;
  console.error("installing the dependencies (npm ci)");
  const { code, output } = await capture("npm", ["ci", "--include=dev", "--no-audit", "--no-fund"]).catch(noNpm);
  if (code !== 0) fail(`npm ci failed\n${output}`);
  writeFileSync(stamp, lock);
}

/**
 * Compiles what changed since the last time.
 * @returns {Promise<{ code: number, output: string }>} of the compiler, which also emits files that have type errors
 */
export async function build() {
  const incremental = ["--incremental", "--tsBuildInfoFile", join(dist, "tsconfig.tsbuildinfo")];
  const result = await capture(userNode, [tool("tsc"), "-p", "tsconfig.json", ...incremental]);
  removeStale();
  return result;
}

async function requireNode() {
  const { output } = await capture(userNode, ["--version"]);
  const [major, minor] = output.slice(1).split(".").map(Number);
  if (major > oldestNode[0] || (major === oldestNode[0] && minor >= oldestNode[1])) return;
  fail(`Perdure needs Node ${oldestNode.join(".")} or newer, this is ${output.trim()} (${userNode})`);
}

/** The compiler leaves the output of deleted sources behind; it would be packed, and imported by mistake. */
function removeStale() {
  if (!existsSync(dist)) return;
  for (const path of readdirSync(dist, { recursive: true })) {
    const source = path.replace(/\.(js|d\.ts)(\.map)?$/, ".ts");
    if (source !== path && !existsSync(join(root, source))) rmSync(join(dist, path));
  }
}

function noNpm(error) {
  return { code: 1, output: `npm could not be started: ${error.message}` };
}

function fail(message) {
  console.error(`setup: ${message}`);
  process.exit(1);
}
