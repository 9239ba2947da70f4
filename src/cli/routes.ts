import { buildCommand, buildRouteMap, type RouteMap } from "@stricli/core";
import { attachRoutes } from "./attach-routes.ts";
import type { CliContext } from "./context.ts";
import { inContext } from "./in-context.ts";
import * as parameters from "./parameters.ts";
import { limitFlags } from "./serve-limits.ts";

// The surface of the command line at a glance. What a command does stands in the file that its loader names, which is
// loaded when the command runs: help and completion load neither koffi nor the library.

const { region, disk, json, plugin, toggle, optionalSize, optionalText } = parameters;
const onRegion = { kind: "tuple", parameters: [region] } as const;
const onDisk = { kind: "tuple", parameters: [region, disk] } as const;
type Argument = readonly [placeholder: string, brief: string];
const onDisks = (first: Argument, second: Argument) =>
  ({ kind: "tuple", parameters: [region, parameters.name(...first), parameters.name(...second)] }) as const;

const format = buildCommand({
  loader: async () => inContext((await import("./commands/format.ts")).format),
  parameters: {
    positional: onRegion,
    flags: {
      size: optionalSize("Size of a file that is created, such as 512M"),
      pageSize: parameters.pageSize,
      thin: parameters.thin,
      format: optionalText("TYPE", "Number or name of the format (default region)"),
      checksums: toggle("Keep a checksum of the content of every page"),
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
  parameters: { positional: onRegion, flags: { deleted: toggle("List what can be undeleted"), json, plugin } },
  docs: { brief: "List what lives in a region: disks and all other instances" },
});

const check = buildCommand({
  loader: async () => inContext((await import("./commands/check.ts")).check),
  parameters: {
    positional: onRegion,
    flags: { repair: toggle("Mend what is wrong, keeping all that can be kept"), json, plugin },
  },
  docs: {
    brief: "Look for corruption, and repair it",
    fullDescription:
      "Reads all metadata and prints what is wrong, page by page, and what a repair\n" +
      "would do. What a crash leaves behind is normal and shown apart: the next open\n" +
      "puts it right. Exit code 3 means corruption. May run beside a writer.\n" +
      "With --repair nobody else may have the region open for writing; exit code 0\n" +
      "means that it is sound now.",
  },
});

const scrub = buildCommand({
  loader: async () => inContext((await import("./commands/scrub.ts")).scrub),
  parameters: {
    positional: { kind: "array", parameter: parameters.regionAndDisks, minimum: 1 },
    flags: { json, plugin },
  },
  docs: {
    brief: "Compare content with its checksums; changes nothing",
    customUsage: ["<REGION> [<DISK>...] [--json]"],
    fullDescription:
      "Needs a region that was formatted with --checksums. Reads every page of it, or\n" +
      "of the disks that are named, and tells where content has changed by itself.\n" +
      "Exit code 3 means damage. May run beside a writer.",
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
    snapshot: buildCommand({
      loader: async () => inContext((await import("./commands/disk-snapshot.ts")).diskSnapshot),
      parameters: {
        positional: onDisks(["NAME", "Name of the disk"], ["SNAPSHOT", "Name that the snapshot is to have"]),
        flags: { plugin },
      },
      docs: {
        brief: "Keep a disk as it is now, as a read-only disk of another name",
        fullDescription:
          "Copies nothing: all blocks are shared, and a block takes memory again when the\n" +
          "disk is written. A snapshot is served like any disk, read-only. To go back to\n" +
          "it, promote it; to try something on the side, clone it.",
      },
    }),
    clone: buildCommand({
      loader: async () => inContext((await import("./commands/disk-clone.ts")).diskClone),
      parameters: {
        positional: onDisks(["SNAPSHOT", "Name of the snapshot"], ["NAME", "Name of the new disk"]),
        flags: { plugin },
      },
      docs: { brief: "Make a disk of a snapshot; it shares its blocks, and may be written" },
    }),
    promote: buildCommand({
      loader: async () => inContext((await import("./commands/disk-promote.ts")).diskPromote),
      parameters: {
        positional: onDisks(
          ["SNAPSHOT", "Name of the snapshot or clone"],
          ["NAME", "Name of the disk that is replaced"],
        ),
        flags: { plugin },
      },
      docs: {
        brief: "Put a snapshot or a clone in the place of a disk",
        fullDescription:
          "The disk NAME becomes what SNAPSHOT holds; what it was before is deleted, and\n" +
          "can be undeleted. A snapshot stays; a clone takes the name and loses its own.",
      },
    }),
    rename: buildCommand({
      loader: async () => inContext((await import("./commands/disk-rename.ts")).diskRename),
      parameters: {
        positional: onDisks(["NAME", "Name of the disk"], ["NEW-NAME", "Name that it is to have"]),
        flags: { plugin },
      },
      docs: { brief: "Give a disk another name" },
    }),
    rm: buildCommand({
      loader: async () => inContext((await import("./commands/disk-rm.ts")).diskRm),
      parameters: {
        positional: onDisk,
        flags: { purge: toggle("Free its memory now; also of one that was deleted before"), plugin },
      },
      docs: {
        brief: "Delete a disk; it can be undeleted until its memory is needed",
        fullDescription:
          "The name is free at once. The blocks stay until the region has no other free\n" +
          "memory; `perdure ls --deleted` lists what can be undeleted. Snapshots and clones\n" +
          "that share blocks with it lose nothing, also with --purge.",
      },
    }),
    undelete: buildCommand({
      loader: async () => inContext((await import("./commands/disk-undelete.ts")).diskUndelete),
      parameters: {
        positional: onDisk,
        flags: { as: optionalText("NAME", "Another name for it, when its own was taken"), plugin },
      },
      docs: { brief: "Bring back the disk of a name that was deleted last" },
    }),
  },
  docs: {
    brief: "Make, list, grow, share and delete the RAM disks of a region",
    fullDescription:
      "Works on a region that `perdure serve` has open, too: the server makes the\n" +
      "change, and its clients see it at once.",
  },
});

const du = buildCommand({
  loader: async () => inContext((await import("./commands/du.ts")).du),
  parameters: { positional: onRegion, flags: { json, plugin } },
  docs: {
    brief: "Show what takes the memory of a region, and what is shared",
    fullDescription:
      "OWN is the memory of an instance itself, its masks (of trimmed blocks that a\n" +
      "snapshot still holds) included. SHARED is what it shows beside that and shares\n" +
      "with the snapshots below it: it is counted there, and takes nothing here.",
  },
});

const quota = buildCommand({
  loader: async () => inContext((await import("./commands/quota.ts")).quota),
  parameters: {
    positional: onDisk,
    flags: {
      min: parameters.optionalLimit("Memory that it is guaranteed; 0 for none"),
      max: parameters.optionalLimit("Memory that it may take; 0 for no limit"),
      subsystem: optionalText("SUBSYSTEM", "What NAME is, if not a disk"),
      json,
      plugin,
    },
  },
  docs: {
    brief: "Show or set how much memory a disk is guaranteed, and may take",
    fullDescription:
      "A disk that is guaranteed its whole size has room for every write. What a disk\n" +
      "shares with a snapshot is counted there, so the guarantee is for writing all of\n" +
      "it anew. Snapshots and clones have no quota until they are given one.",
  },
});

const upgrade = buildCommand({
  loader: async () => inContext((await import("./commands/upgrade.ts")).upgrade),
  parameters: { positional: onRegion, flags: { plugin } },
  docs: {
    brief: "Raise a region of an older format version to this one",
    fullDescription:
      "Nothing in it changes but its version, so that it can have snapshots, quotas\n" +
      "and undelete. Programs that know only the older version cannot open it then.",
  },
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
      tcp: optionalText("HOST:PORT", "Listen on TCP; see --tls and --allow-from"),
      threads: parameters.threads,
      tls: parameters.tls,
      tlsCertificates: optionalText("DIR", "Encrypt; server-cert.pem, server-key.pem are here"),
      tlsVerifyPeer: toggle("Let in clients of the CA in ca-cert.pem only"),
      tlsPsk: optionalText("FILE", "Encrypt with keys, in lines USER:HEXKEY"),
      ...limitFlags,
      readOnly: toggle("Serve without changing anything"),
      quarantineAfter: parameters.quarantineAfter,
      healthyAfter: parameters.healthyAfter,
      json: toggle("Print events as JSON, one a line; errors too"),
      plugin,
    },
  },
  docs: {
    brief: "Serve the disks of a region over NBD until it is told to stop",
    fullDescription:
      "Prints how the start went, then a line `ready URI` for each disk when clients\n" +
      "can connect. Without --disk and --disks, every disk of the region is served,\n" +
      "also one that `perdure disk` makes meanwhile.\n" +
      "Ctrl-C or SIGTERM answers what clients have asked, closes the region and ends;\n" +
      "a second one ends at once. Sockets handed over by a service manager\n" +
      "(LISTEN_FDS) are used.",
  },
});

const start = buildCommand({
  loader: async () => inContext((await import("./commands/start.ts")).start),
  parameters: {
    flags: {
      dir: optionalText("DIR", "Folder (default $PERDURE_DIR, or a tmpfs with room)"),
      quarantineAfter: parameters.quarantineAfter,
      plugin,
    },
  },
  docs: {
    brief: "Serve a default disk of 512 MiB, and say how to use it",
    fullDescription:
      "The quickest way to a RAM disk that outlives its server: stop it, or kill it\n" +
      "with -9, start it again, and everything is there.",
  },
});

const preflight = buildCommand({
  loader: async () => inContext((await import("./commands/preflight.ts")).preflight),
  parameters: { positional: onRegion, flags: { quarantineAfter: parameters.quarantineAfter, json, plugin } },
  docs: {
    brief: "Tell how the next start would go; changes nothing",
    fullDescription:
      "Prints warm, recovered, cold, in-use, quarantine or refused, why, and what is at\n" +
      "stake. Exit code 0 means that a start would find everything. Otherwise the exit\n" +
      "code and the error are those of a start without --create. Works beside a writer.",
  },
});

const doctor = buildCommand({
  loader: async () => inContext((await import("./commands/doctor.ts")).doctor),
  parameters: {
    positional: { kind: "tuple", parameters: [{ ...region, optional: true }] },
    flags: { json, plugin },
  },
  docs: {
    brief: "Tell what this machine will do to kept memory",
    fullDescription:
      "Looks at shared memory, logout, swap, limits and tools; with REGION at the place\n" +
      "where that is or will be. Exit code 1 means that something fails here.",
  },
});

const explain = buildCommand({
  loader: async () => inContext((await import("./commands/explain.ts")).explain),
  parameters: {
    positional: {
      kind: "tuple",
      parameters: [{ brief: "Error code, start reason or exit code", placeholder: "CODE", parse: String }],
    },
    flags: { json, plugin },
  },
  docs: { brief: "Explain an error code, a reason of a start, or an exit code" },
});

/** Every command by its name. */
export const routes: RouteMap<CliContext> = buildRouteMap<string, CliContext>({
  routes: {
    start,
    serve,
    ...attachRoutes,
    format,
    info,
    ls,
    du,
    check,
    scrub,
    disk: diskRoutes,
    quota,
    upgrade,
    preflight,
    doctor,
    explain,
  },
  docs: { brief: "Memory that outlives the program that wrote it" },
});
