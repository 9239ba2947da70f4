/** The command `perdure`: one file per command in commands/, loaded when it runs. */
import { run } from "@stricli/core";
import { buildPerdure } from "./application.ts";
import type { CliContext } from "./context.ts";
import { exitCode, mapExitCode } from "./exit-code.ts";

const { stdout, stderr, env } = process;
const context: CliContext = { process: { stdout, stderr, env } };

stdout.on("error", (error: NodeJS.ErrnoException) => {
  // A reader that has seen enough (`perdure ls R | head -1`) is no failure, and no reason to stop serving.
  if (error.code === "EPIPE") return;
  stderr.write(`perdure: EIO: standard output could not be written: ${error.message}\n`);
  process.exitCode = exitCode.failure;
});
// Nobody is left to tell.
stderr.on("error", () => {});

const inputs = process.argv.slice(2);
await run(buildPerdure({ json: inputs.includes("--json") }), inputs, context);
process.exitCode ??= mapExitCode(Number(context.process.exitCode ?? exitCode.success));
