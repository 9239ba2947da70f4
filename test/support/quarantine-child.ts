// A process that opens a region whose starts failed, and is killed at a step of putting it aside.

import { fileURLToPath } from "node:url";
import { Backing } from "../../src/memory/index.ts";
import { PageRegion } from "../../src/region/index.ts";

/** The path of this program: `quarantine-child PATH STEP`. */
export const quarantineChild: string = fileURLToPath(import.meta.url);

/** The steps, in their order; at each the process may be killed before it or after it. */
export const steps = ["rename", "publish"] as const;

function killBefore(step: (typeof steps)[number]): void {
  Backing.prototype[step] = () => process.kill(process.pid, "SIGKILL");
}

function killAfter(step: (typeof steps)[number]): void {
  const act = Backing.prototype[step] as (path?: string) => void;
  Backing.prototype[step] = function actAndDie(this: Backing, path?: string): void {
    act.call(this, path);
    process.kill(process.pid, "SIGKILL");
  };
}

if (process.argv[1] === quarantineChild) {
  const [path, when, step] = process.argv.slice(2);
  const chosen = steps.find((one) => one === step);
  if (chosen !== undefined) (when === "before" ? killBefore : killAfter)(chosen);
  const region = await PageRegion.open(path, { create: true, quarantineAfter: 3 });
  process.stdout.write(`${region.start.reason}\n`);
  await region.close();
}
