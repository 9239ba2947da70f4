import { buildCommand } from "@stricli/core";
import { inContext } from "./in-context.ts";
import * as parameters from "./parameters.ts";

const { optionalText, plugin, toggle } = parameters;
const source = {
  brief: "Region, whose socket is next to it; socket; or URI of the disk",
  placeholder: "REGION",
  parse: String,
} as const;
const timeout = {
  kind: "parsed",
  parse: parameters.someSeconds,
  placeholder: "SECONDS",
  brief: "I/O fails when no server answers so long (default: never)",
  optional: true,
} as const;
const force = toggle("Do not wait for the server; unsaved data are lost");

/** The commands that make disks of a server into devices of this machine, by name. */
export const attachRoutes = {
  attach: buildCommand({
    loader: async () => inContext((await import("./commands/attach.ts")).attach),
    parameters: {
      positional: {
        kind: "tuple",
        parameters: [source, { ...parameters.disk, brief: "Disk, where there are several", optional: true }],
      },
      flags: { timeout, foreground: toggle("Hold it here until Ctrl-C"), json: parameters.json, plugin },
    },
    docs: {
      brief: "Make a disk a device that outlives its server",
      fullDescription:
        "Prints the device, /dev/loopN as a rule, and returns; a process in the\n" +
        "background holds it. When the server ends, whoever uses the device waits until\n" +
        "it is back. Users other than root get a file instead of a block device.",
    },
  }),
  detach: buildCommand({
    loader: async () => inContext((await import("./commands/detach.ts")).detach),
    parameters: {
      positional: {
        kind: "tuple",
        parameters: [{ brief: "What attach has printed", placeholder: "DEVICE", parse: String }],
      },
      flags: { force, plugin },
    },
    docs: { brief: "Store what was written to a device, and take it back" },
  }),
  mount: buildCommand({
    loader: async () => inContext((await import("./commands/mount.ts")).mount),
    parameters: {
      positional: {
        kind: "array",
        parameter: {
          brief: "Region, disk and folder; or URI and folder",
          placeholder: "REGION NAME DIR",
          parse: String,
        },
        minimum: 2,
        maximum: 3,
      },
      flags: {
        mkfs: optionalText("TYPE", "Make a file system first; the disk must be empty"),
        options: optionalText("OPTIONS", "For mount -o, such as discard,noatime"),
        timeout,
        plugin,
      },
    },
    docs: {
      brief: "Mount the file system of a disk so that it outlives the server",
      customUsage: ["<REGION> <NAME> <DIR> [--mkfs TYPE] [--options OPTIONS]", "<URI> <DIR> [--mkfs TYPE]"],
      fullDescription:
        "Attaches the disk, as attach does, and mounts it. When the server ends,\n" +
        "programs that use the file system wait until it is back.",
    },
  }),
  umount: buildCommand({
    loader: async () => inContext((await import("./commands/umount.ts")).umount),
    parameters: {
      positional: {
        kind: "tuple",
        parameters: [{ brief: "Where mount has put it", placeholder: "DIR", parse: String }],
      },
      flags: { force, plugin },
    },
    docs: { brief: "Unmount what mount has mounted, and leave nothing behind" },
  }),
};
