// `npm test`: makes the clone ready, takes the steps of `npm run check`, then runs every test file. Its last line is
// `N passed, N failed`, with `, N skipped` when any test was. Words after `--` choose the test files whose names
// contain one of them, and leave the checks out.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { withFigures } from "./figures.mjs";
import { attach, newerNode, root, userNode } from "./run.mjs";
import { install, setup } from "./setup.mjs";
import { runSteps, steps } from "./steps.mjs";

/**
 * A second run under the newer Node, which CI=true asks for, leaves these out: they drive external programs, or search
 * the states of our own rules, which no Node changes.
 */
const onceTests = [/^e2e/, /^guest/, /^crash\.test/, /^mutants\.test/, /^region-repair\.test/];
/** Node 20.20 itself was seen to die of SIGSEGV here, in plain JavaScript: with CI=true the newer Node runs it. */
const newerTests = [/^model\.test/];
/** Two files at a time: more would make the tests that measure time, or boot a machine, disturb each other. */
const concurrency = 2;
/** Every bit of the metadata flipped, and every field forged: without these a part of them is left out. */
const allForgeries = { PERDURE_STRIDE: "1", PERDURE_SKIPPED: "0" };
/**
 * With CI=true the random searches for crash states go on for so many states each, or for so many seconds of a
 * processor. The second run, under the newer Node, leaves that out.
 */
const longSearch = { PERDURE_CRASH_STATES: "3000000", PERDURE_CRASH_CPU_SECONDS: "150", ...allForgeries };
/** A test file that takes longer hangs. */
const fileTimeoutMs = 15 * 60_000;

const filters = process.argv.slice(2);
const totals = { passed: 0, failed: 0, skipped: 0 };

if (filters.length === 0) {
  await install();
  // The house rules are a test file, which runs with the others.
  add(await runSteps(steps.filter(({ name }) => name !== "house rules")));
} else {
  await setup();
}
const files = testFiles();
const isCi = process.env.CI === "true";
const isOneOf = (patterns) => (file) => patterns.some((pattern) => pattern.test(file));
const isOnce = isOneOf(onceTests);
const isNewer = isOneOf(isCi ? newerTests : []);
await withFigures(async (figures) => {
  const first = files.filter((file) => !isNewer(file));
  await runTests(userNode, first, { ...(isCi ? longSearch : {}), ...figures });
  if (isCi) {
    await runTests(
      newerNode,
      files.filter((file) => !isOnce(file)),
    );
  }
});
const skipped = totals.skipped === 0 ? "" : `, ${totals.skipped} skipped`;
console.log(`${totals.passed} passed, ${totals.failed} failed${skipped}`);
process.exitCode = totals.failed === 0 ? 0 : 1;

/** The names come from the sources: the build may hold what was deleted. */
function testFiles() {
  const names = readdirSync(join(root, "test")).filter((name) => name.endsWith(".test.ts"));
  const chosen = names.filter((name) => filters.length === 0 || filters.some((filter) => name.includes(filter)));
  if (chosen.length === 0) add({ failed: 1 }, "no test file has such a name");
  return chosen.toSorted();
}

async function runTests(node, names, variables = {}) {
  if (names.length === 0) return;
  const folder = mkdtempSync(join(tmpdir(), "perdure-test-"));
  const events = join(folder, "events");
  const options = ["--test", `--test-concurrency=${concurrency}`, `--test-timeout=${fileTimeoutMs}`];
  const reporters = [
    ["--test-reporter=spec", "--test-reporter-destination=stdout"],
    [`--test-reporter=${new URL("test-events.mjs", import.meta.url)}`, `--test-reporter-destination=${events}`],
  ].flat();
  const paths = names.map((name) => join("dist/test", name.replace(/\.ts$/, ".js")));
  try {
    const code = await attach(node, [...options, ...reporters, ...paths], variables);
    const counts = countEvents(events);
    add(counts);
    if (code !== 0 && counts.failed === 0) add({ failed: 1 }, `${node} --test ended with code ${code}`);
  } catch (error) {
    add({ failed: 1 }, `${node} --test: ${error.message}`);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function countEvents(path) {
  const lines = readFileSync(path, "utf8").split("\n");
  const count = (word) => lines.filter((line) => line.startsWith(`${word} `)).length;
  return { passed: count("pass"), failed: count("fail"), skipped: count("skip") };
}

function add(counts, message) {
  if (message !== undefined) console.error(message);
  for (const key in counts) totals[key] += counts[key];
}
