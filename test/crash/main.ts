/**
 * Runs crash tests from the command line: `node dist/test/crash/main.js MODEL SEED STATES [EXHAUSTIVE]`, where
 * MODEL is kill, power, threads-kill or threads-power.
 * Exit code 0: clean. 3: a promise was broken, which is what a planted mutant must lead to.
 */
import { runInterleavings } from "./interleavings.ts";
import { type Tally, Violation } from "./judge.ts";
import { runSequences } from "./sequences.ts";

const [model, seed, states, exhaustive] = process.argv.slice(2);
// The clock stands still: two images that differ in a time only would be two states.
const started = Date.now();
Date.now = () => started;

function run(): Tally {
  if (model === "kill" || model === "power") {
    const few = exhaustive === undefined ? {} : { exhaustive: Number(exhaustive) };
    return runSequences(model, Number(seed), { states: Number(states), ...few });
  }
  if (model === "threads-kill") return runInterleavings("kill", Number(seed));
  if (model === "threads-power") return runInterleavings("power", Number(seed));
  throw new Error(`no crash model "${model}"`);
}

const began = process.cpuUsage();
try {
  const tally = run();
  const { user, system } = process.cpuUsage(began);
  const cpuSeconds = Number(((user + system) / 1e6).toFixed(1));
  process.stdout.write(`${JSON.stringify({ model, seed, ...tally, cpuSeconds })}\n`);
} catch (error) {
  // An assertion of the code under test is a promise, too.
  const isPromise = error instanceof Violation || (error as Error).message.includes("assertion failed");
  if (!isPromise) throw error;
  process.stdout.write(`${(error as Error).message}\n`);
  process.exitCode = 3;
}
