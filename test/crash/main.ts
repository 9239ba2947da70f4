/**
 * Runs crash tests from the command line: `node dist/test/crash/main.js MODEL SEED STATES`, where
 * MODEL is kill, power, threads-kill or threads-power.
 * Exit code 0: clean. 3: a promise was broken, which is what a planted mutant must lead to.
 */
import { runInterleavings } from "./interleavings.ts";
import { type Tally, Violation } from "./judge.ts";
import { runSequences } from "./sequences.ts";

const [model, seed, states] = process.argv.slice(2);

function run(): Tally {
  if (model === "kill" || model === "power") return runSequences(model, Number(seed), Number(states));
  if (model === "threads-kill") return runInterleavings("kill", Number(seed));
  if (model === "threads-power") return runInterleavings("power", Number(seed));
  throw new Error(`no crash model "${model}"`);
}

const began = performance.now();
try {
  const tally = run();
  const seconds = (performance.now() - began) / 1000;
  process.stdout.write(`${JSON.stringify({ model, seed, ...tally, seconds: Number(seconds.toFixed(1)) })}\n`);
} catch (error) {
  // An assertion of the code under test is a promise, too.
  const isPromise = error instanceof Violation || (error as Error).message.includes("assertion failed");
  if (!isPromise) throw error;
  process.stdout.write(`${(error as Error).message}\n`);
  process.exitCode = 3;
}
