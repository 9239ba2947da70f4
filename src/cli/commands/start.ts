import { join } from "node:path";
import { parseSize } from "../../base/index.ts";
import type { CliContext } from "../context.ts";
import { chooseFolder } from "../default-folder.ts";
import { paint, print } from "../output.ts";
import { defaultQuarantineAfter } from "../parameters.ts";
import { serveDisks } from "../serving.ts";

const REGION_FILE = "default.region";
const DISK = { name: "pram0", sizeBytes: parseSize("512M") };
/** A disk that is written to its end needs its metadata and the reserve for overwriting beside it. */
const REGION_BYTES = parseSize("640M");

interface StartFlags {
  readonly dir?: string;
  readonly quarantineAfter?: number;
}

/** `perdure start`: the default region with one disk, and how to use it. */
export async function start(context: CliContext, flags: StartFlags): Promise<void> {
  const { stderr, env } = context.process;
  const { folder, from, refused } = chooseFolder({ dir: flags.dir, env, file: REGION_FILE, roomBytes: REGION_BYTES });
  const source = join(folder, REGION_FILE);
  for (const reason of refused) print(stderr, paint(stderr, "dim", `not in ${reason}`));
  print(stderr, `the region is ${source} (${from})`);
  await serveDisks(context, {
    source,
    open: { create: true, size: REGION_BYTES, quarantineAfter: flags.quarantineAfter ?? defaultQuarantineAfter },
    wanted: [DISK],
    others: true,
    json: false,
    onReady: (uris) => print(stderr, ...usage(uris.get(DISK.name) ?? "", folder)),
  });
}

/** How to use the disk, in lines that work when they are pasted one after the other. */
function usage(uri: string, folder: string): string[] {
  const sudo = process.geteuid?.() === 0 ? "" : "sudo ";
  // Not everybody's root has Node in its PATH, and a clone is in nobody's.
  const perdure = `perdure() { ${sudo}${quoted(process.execPath)} ${quoted(process.argv[1])} "$@"; }`;
  return [
    "",
    "In another terminal:",
    "",
    `  URI=${quoted(uri)}`,
    `  DIR=${quoted(folder)}`,
    `  ${perdure}`,
    '  nbdinfo "$URI"',
    "",
    "A file system on the disk (--mkfs only the first time); killing this server is a pause for it:",
    "",
    '  mkdir -p "$DIR/mnt"',
    '  perdure mount "$URI" "$DIR/mnt" --mkfs ext4',
    "",
    "  and when done:",
    "",
    '  perdure umount "$DIR/mnt"',
    "",
    "Images in and out, a virtual machine:",
    "",
    '  qemu-img convert -n -O raw disk.img "$URI"',
    '  nbdcopy "$URI" copy.img',
    '  qemu-system-x86_64 -m 1G -drive "file=$URI,format=raw,if=virtio"',
    "",
    "Stop with Ctrl-C, or kill it with -9: started again, everything is there.",
  ];
}

/** A word as the shell takes it. */
function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
