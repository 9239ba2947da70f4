// Runs Python scripts that use libnbd's own module.

import { existsSync } from "node:fs";
import type { TestContext } from "node:test";
import { run, succeed } from "./nbd-programs.ts";

/** Debian's libnbd module belongs to the system's python, not to whichever comes first in the PATH. */
const python = "/usr/bin/python3";

/** Runs a script in which `h` is a handle that is not connected. */
export function libnbd(uri: string, script: string): Promise<string> {
  return succeed(python, "-c", `import nbd, errno\nuri = ${JSON.stringify(uri)}\nh = nbd.NBD()\n${script}`);
}

/** Tells a test whether libnbd's module is there, see `requireTool`. */
export async function requireLibnbd(t: TestContext): Promise<boolean> {
  if (existsSync(python) && (await run(python, "-c", "import nbd")).code === 0) return true;
  if (process.env.CI === "true") throw new Error("python3-libnbd is not installed");
  t.skip("not installed: python3-libnbd");
  return false;
}
