import { readFile } from "node:fs/promises";
import { type Application, buildApplication, help, text_en, version } from "@stricli/core";
import type { CliContext } from "./context.ts";
import { describeError, usageError } from "./error-text.ts";
import { exitCodeOf } from "./exit-code.ts";
import { routes } from "./routes.ts";

/**
 * The whole command line.
 *
 * @param options `json`: errors are written as objects, also those of a command line that cannot be understood
 */
export function buildPerdure({ json }: { json: boolean }): Application<CliContext> {
  const describe = (error: unknown, color: boolean): string => describeError(error, { json, color });
  const text = {
    ...text_en,
    headers: { ...text_en.headers, usage: "Usage", commands: "Commands", flags: "Flags", arguments: "Arguments" },
    briefs: {
      ...text_en.briefs,
      help: "Print this and exit",
      version: "Print the version and exit",
      argumentEscapeSequence: "What follows is no flag",
    },
    exceptionWhileParsingArguments: describe,
    exceptionWhileLoadingCommandFunction: describe,
    exceptionWhileLoadingCommandContext: describe,
    exceptionWhileRunningCommand: describe,
    commandErrorResult: describe,
    noCommandRegisteredForInput: (args: {
      input: string;
      corrections: readonly string[];
      ansiColor: boolean;
    }): string => describe(usageError(text_en.noCommandRegisteredForInput(args)), args.ansiColor),
  };
  return buildApplication<CliContext>(
    routes,
    {
      name: "perdure",
      scanner: { caseStyle: "allow-kebab-for-camel", allowArgumentEscapeSequence: true },
      // Machines read the errors then, on a terminal too.
      documentation: { disableAnsiColor: json },
      localization: { text },
      determineExitCode: exitCodeOf,
    },
    {
      help: help({
        brief: text.briefs.help,
        defaultForRouteMap: true,
        formatting: {
          caseStyle: "convert-camel-to-kebab",
          onlyRequiredInUsageLine: true,
          useAliasInUsageLine: false,
        },
      }),
      version: version({ brief: text.briefs.version, info: { getCurrentVersion } }),
    },
  );
}

async function getCurrentVersion(): Promise<string> {
  const manifest = await readFile(new URL("../../../package.json", import.meta.url), "utf8");
  return (JSON.parse(manifest) as { version: string }).version;
}
