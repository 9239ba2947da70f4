import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";

/**
 * Runs a program of this folder in a process of its own and gives back what it found.
 *
 * @param name the program's file without its ending
 * @param task what it is to do, as JSON in its first argument; it answers with JSON on its standard output
 */
export async function runChild<Result>(name: string, task: object): Promise<Result> {
  const program = fileURLToPath(new URL(`${name}.js`, import.meta.url));
  const options = ["--expose-gc", program, JSON.stringify(task)];
  const child = spawn(process.execPath, options, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise<number | NodeJS.Signals | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve(code ?? signal));
  });
  const [output, code] = await Promise.all([text(child.stdout), ended]);
  if (code !== 0) throw new Error(`the child ${name} ended with ${code}`);
  return JSON.parse(output) as Result;
}

/** The task of a child, in the child. */
export function childTask(): unknown {
  return JSON.parse(process.argv[2]);
}

/** Ends a child with its result, at once: what it leaves open is left as a kill leaves it. */
export function finishChild(result: object): never {
  // Standard output is a pipe, to which writes are synchronous on Linux.
  process.stdout.write(JSON.stringify(result));
  process.exit(0);
}
