import { formatSize, parseSize } from "../../base/index.ts";
import { folderOf } from "./subject.ts";
import { type Check, fail, ok, warn } from "./verdict.ts";

/** What a container gets unless it is told otherwise. */
const CONTAINER_BYTES = parseSize("64M");
/** What `perdure start` takes. */
const WANTED_BYTES = parseSize("640M");

/** Is there a place, and does a region fit? */
export const room: Check = (host, subject) => {
  const name = "room";
  const { path, mount, sizeBytes } = subject;
  if (path.startsWith("fd:") || path.startsWith("/dev/dax")) {
    return ok(name, `${path} has the size that it was made with: ${describeSize(sizeBytes)}.`);
  }
  const folder = folderOf(host, subject);
  const found = host.room(folder);
  if (found === undefined || mount === undefined) {
    return fail(name, `${folder} is not there.`, `make the folder, or mount a tmpfs: ${mountLine(WANTED_BYTES)}`);
  }
  const [size, free] = [formatSize(found.sizeBytes), formatSize(found.freeBytes)];
  const place = `${mount.folder} (${mount.type}) has ${size}, ${free} free`;
  if (!["tmpfs", "ext4", "xfs"].includes(mount.type)) {
    return fail(name, `${place}; a region there is refused.`, "use a file on tmpfs, ext4 or xfs");
  }
  if (sizeBytes !== undefined) {
    const second = found.freeBytes >= sizeBytes ? "there is room" : "there is no room";
    return ok(name, `${place}. The region has its ${formatSize(sizeBytes)}; ${second} for a second one beside it.`);
  }
  if (found.sizeBytes === CONTAINER_BYTES && mount.type === "tmpfs") {
    return warn(
      name,
      `${place}: the default of a container.`,
      "start the container with more, such as `docker run --shm-size=1g`, or mount a tmpfs or a memory volume into it",
    );
  }
  if (found.freeBytes >= WANTED_BYTES) return ok(name, `${place}.`);
  return warn(
    name,
    `${place}; \`perdure start\` needs ${formatSize(WANTED_BYTES)}.`,
    `free memory there, or make it larger: mount -o remount,size=2G ${mount.folder}`,
  );
};

/** Options of the mount that decide what becomes of memory kept there. */
export const mountOptions: Check = (_host, { path, mount }) => {
  const name = "mount options";
  if (mount === undefined) return ok(name, `${path} is not on a file system.`);
  const { folder, type, options } = mount;
  const all = options.join(",");
  if (options.includes("ro")) return fail(name, `${folder} is read-only (${all}).`, "mount it for writing");
  if (type !== "tmpfs") return ok(name, `${folder}: ${all}. A region there outlives an orderly reboot.`);
  return ok(name, `${folder}: ${all}. A tmpfs is empty after a reboot.`);
};

function describeSize(sizeBytes: number | undefined): string {
  return sizeBytes === undefined || sizeBytes === 0 ? "its own" : formatSize(sizeBytes);
}

function mountLine(bytes: number): string {
  return `mount -t tmpfs -o size=${Math.ceil(bytes / 2 ** 30)}G,mode=700 perdure /mnt/perdure`;
}
