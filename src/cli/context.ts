import type { CommandContext } from "@stricli/core";

/** What a command sees of the process that it runs in. */
export interface CliContext extends CommandContext {
  readonly process: {
    readonly stdout: NodeJS.WriteStream;
    readonly stderr: NodeJS.WriteStream;
    readonly env: NodeJS.ProcessEnv;
    /** Written by the framework when the command has ended. */
    exitCode?: number | string | null;
  };
}
