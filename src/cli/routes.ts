import { buildCommand, buildRouteMap, type RouteMap } from "@stricli/core";
import type { PerdureError } from "../base/index.ts";
import type { CliContext } from "./context.ts";
import * as parameters from "./parameters.ts";

// The surface of the command line at a glance. What a command does stands in the file that its loader names, which is
// loaded when the command runs: help and completion load neither koffi nor the library.

const { region, disk, json, plugin, toggle, optionalSize, optionalText } = parameters;
const onRegion = { kind: "tuple", parameters: [region] } as const;
const onDisk = { kind: "tuple", parameters: [region, disk] } as const;

const format = buildCommand({
  loader: async () => inContext((await import("./commands/format.ts")).format),
  parameters: {
    positional: onRegion,
    flags: {
      size: optionalSize("Size of a file that is created, such as 512M"),
      pageSize: parameters.pageSize,
      thin: parameters.thin,
      format: optionalText("TYPE", "Number or name of the format (default region)"),
      force: toggle("Wipe what is there, whatever it is, then format"),
      plugin,
    },
  },
  docs: {
    brief: "Make a region, or a memory of another format",
    fullDescription:
      "Creates a file of --size and formats it. A blank file, device or descriptor\n" +
      "that is there is formatted as it is, without --size. Other data are refused,\n" +
      "unless --force says that they may be destroyed.",
  },
});

const info = buildCommand({
  loader: async () => inContext((await import("./commands/info.ts")).info),
  parameters: { positional: onRegion, flags: { json, plugin } },
  docs: { brief: "Show size, free space, state and lives of a region" },
});

const ls = buildCommand({
  loader: async () => inContext((await import("./commands/ls.ts")).ls),
  parameters: { positional: onRegion, flags: { json, plugin } },
  docs: { brief: "List what lives in a region: disks and all other instances" },
});

const check = buildCommand({
  loader: async () => inContext((await import("./commands/check.ts")).check),
  parameters: { positional: onRegion, flags: { json, plugin } },
  docs: {
    brief: "Look for corruption; changes nothing",
    fullDescription:
      "Reads all metadata and prints what is wrong, page by page. What a crash leaves\n" +
      "behind is normal and shown apart: the next open puts it right. Exit code 3\n" +
      "means corruption. May run beside a writer.",
  },
});

const diskRoutes = buildRouteMap({
  routes: {
    create: buildCommand({
      loader: async () => inContext((await import("./commands/disk-create.ts")).diskCreate),
      parameters: { positional: onDisk, flags: { size: parameters.size("Size of the disk, such as 512M"), plugin } },
      docs: { brief: "Make a disk; it takes memory as it is written" },
    }),
    ls: buildCommand({
      loader: async () => inContext((await import("./commands/disk-ls.ts")).diskLs),
      parameters: { positional: onRegion, flags: { json, plugin } },
      docs: { brief: "List the disks of a region" },
    }),
    grow: buildCommand({
      loader: async () => inContext((await import("./commands/disk-grow.ts")).diskGrow),
      parameters: {
        positional: onDisk,
        flags: { size: parameters.size("New size, at least the present one"), plugin },
      },
      docs: { brief: "Make a disk larger" },
    }),
    rm: buildCommand({
      loader: async () => inContext((await import("./commands/disk-rm.ts")).diskRm),
      parameters: { positional: onDisk, flags: { plugin } },
      docs: { brief: "Delete a disk and everything on it" },
    }),
  },
  docs: { brief: "Make, list, grow and delete the RAM disks of a region" },
});

const serve = buildCommand({
  loader: async () => inContext((await import("./commands/serve.ts")).serve),
  parameters: {
    positional: onRegion,
    flags: {
      create: toggle("Make the region if it is not there"),
      size: optionalSize("Size of a region that is created"),
      pageSize: parameters.pageSize,
      thin: parameters.thin,
      disk: {
        kind: "parsed",
        parse: async (text: string) => (await import("../disk/index.ts")).parseDisk(text),
        placeholder: "NAME=SIZE",
        brief: "Serve this disk, made if need be; may be repeated",
        variadic: true,
        optional: true,
      },
      disks: {
        kind: "parsed",
        parse: async (text: string) => (await import("../disk/index.ts")).parseDiskSizes(text),
        placeholder: "SIZE,SIZE",
        brief: "Serve pram0, pram1, … of these sizes",
        optional: true,
      },
      unix: optionalText("PATH", "Listen on this Unix socket (default REGION.sock)"),
      tcp: optionalText("HOST:PORT", "Listen on TCP; whoever reaches it may use the disks"),
      readOnly: toggle("Serve without changing anything"),
      json: toggle("Print events as JSON, one a line; errors too"),
      plugin,
    },
  },
  docs: {
    brief: "Serve the disks of a region over NBD until it is told to stop",
    fullDescription:
      "Prints how the start went, then a line `ready URI` for each disk when clients\n" +
      "can connect. Without --disk and --disks, every disk of the region is served.\n" +
      "Ctrl-C or SIGTERM answers what clients have asked, closes the region and ends;\n" +
      "a second one ends at once. Sockets handed over by a service manager\n" +
      "(LISTEN_FDS) are used.",
  },
});

const start = buildCommand({
  loader: async () => inContext((await import("./commands/start.ts")).start),
  parameters: {
    flags: { dir: optionalText("DIR", "Folder (default $PERDURE_DIR, or a tmpfs with room)"), plugin },
  },
  docs: {
    brief: "Serve a default disk of 512 MiB, and say how to use it",
    fullDescription:
      "The quickest way to a RAM disk that outlives its server: stop it, or kill it\n" +
      "with -9, start it again, and everything is there.",
  },
});

/** Every command by its name. */
export const routes: RouteMap<CliContext> = buildRouteMap<string, CliContext>({
  routes: { start, serve, format, info, ls, check, disk: diskRoutes },
  docs: { brief: "Memory that outlives the program that wrote it" },
});

type Result = Promise<void | PerdureError>;

/** Our commands take their context as an argument; the framework has it in `this`. Plug-ins come before the command. */
function inContext<Flags, Args extends readonly unknown[]>(
  command: (context: CliContext, flags: Flags, ...args: Args) => Result,
): (this: CliContext, flags: Flags & parameters.PluginFlags, ...args: Args) => Result {
  return async function run(this, flags, ...args) {
    if (flags.plugin !== undefined) await (await import("./plugins.ts")).loadPlugins(flags.plugin);
    return command(this, flags, ...args);
  };
}
