import type { PerdureError } from "../base/index.ts";
import type { CliContext } from "./context.ts";
import type { PluginFlags } from "./parameters.ts";

type Result = Promise<void | PerdureError>;

/** Our commands take their context as an argument; the framework has it in `this`. Plug-ins come before the command. */
export function inContext<Flags, Args extends readonly unknown[]>(
  command: (context: CliContext, flags: Flags, ...args: Args) => Result,
): (this: CliContext, flags: Flags & PluginFlags, ...args: Args) => Result {
  return async function run(this, flags, ...args) {
    if (flags.plugin !== undefined) await (await import("./plugins.ts")).loadPlugins(flags.plugin);
    return command(this, flags, ...args);
  };
}
