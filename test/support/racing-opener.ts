// A process that opens regions when it is told to, beside others that do the same. With a countdown it kills itself
// before its n-th system call.

import { once } from "node:events";
import { writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { isPerdureError } from "../../src/base/index.ts";
import { Region } from "../../src/index.ts";
import { intercept } from "./system-faults.ts";

/** The path of this program. */
export const openerProgram: string = fileURLToPath(import.meta.url);

const say = (line: string): void => void writeSync(1, `${line}\n`);

/** Raises the counter that the region keeps: who opens it beside another one loses or repeats a number. */
function count(region: Region): number {
  const counter = region.instance("race", "counter", { create: true });
  const next = counter.has(0) ? new DataView(counter.read(0).buffer).getUint32(0, true) + 1 : 1;
  counter.write(0, Uint8Array.from([next, next >>> 8, next >>> 16, next >>> 24]));
  return next;
}

/** Opens or creates the region and says how that went. */
async function open(path: string): Promise<Region | undefined> {
  try {
    const region = await Region.open(path, { create: true, size: "256K", pageSize: 512 });
    say(`held ${region.start.generation} ${region.start.reason} ${count(region)}`);
    return region;
  } catch (error) {
    say(isPerdureError(error) ? `${error.code} ${error.message}` : `unexpected ${(error as Error).stack}`);
    return undefined;
  }
}

/** `race`: for each line with a path opens that, and closes it at the next line. */
async function race(): Promise<void> {
  let region: Region | undefined;
  say("ready");
  for await (const path of createInterface({ input: process.stdin })) {
    if (path !== "close") {
      region = await open(path);
      continue;
    }
    await region?.close();
    region = undefined;
    say("closed");
  }
}

/** `die PATH NTH`: opens, counts, closes; dies before its n-th system call when it makes so many. */
async function die(path: string, nth: number): Promise<void> {
  using _ = intercept((_name, call, make) => {
    if (call === nth) process.kill(process.pid, "SIGKILL");
    return make();
  });
  const region = await open(path);
  await region?.close();
}

/** `seize PATH`: opens what another process has locked, as through a second node of one device; ends with its input. */
async function seize(path: string): Promise<void> {
  using _ = intercept((name, _call, make) => (name === "fcntl" ? undefined : make()));
  const region = await open(path);
  process.stdin.resume();
  await once(process.stdin, "end");
  await region?.close();
}

if (process.argv[1] === openerProgram) {
  const [, , command, path, nth] = process.argv;
  if (command === "race") await race();
  else if (command === "die") await die(path, Number(nth));
  else await seize(path);
}
