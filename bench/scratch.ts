import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";

/** Memory that looks like files: no disk takes part in what is measured. */
const TMPFS = "/dev/shm";

/** A folder of its own for a run; it is removed with all it holds, also when the run is interrupted. */
export function scratchFolder(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(TMPFS, "perdure-bench-"));
  const remove = (): void => rmSync(path, { recursive: true, force: true });
  process.once("exit", remove);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => process.exit(1));
  return { path, [Symbol.dispose]: remove };
}
