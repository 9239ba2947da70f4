import { formatSize } from "../../base/index.ts";
import type { Host } from "./host.ts";
import { folderOf, type Subject } from "./subject.ts";
import { type Check, fail, meminfo, ok, warn } from "./verdict.ts";

/** Strict accounting: the kernel refuses what it could not keep. proc_sys_vm(5), overcommit_memory. */
const STRICT = "2";

/** Can kept memory leave the memory? */
export const swap: Check = (host, { isShared, mount }) => {
  const name = "swap";
  if (!isShared) return ok(name, "The region is no shared memory: it is not swapped.");
  if (mount?.options.includes("noswap") === true) return ok(name, `${mount.folder} is mounted with noswap.`);
  const total = meminfo(host, "SwapTotal") ?? 0;
  if (total === 0) return ok(name, "There is no swap: shared memory stays in memory.");
  return warn(
    name,
    `There are ${formatSize(total)} of swap: shared memory may go there. That is slow, and stays on the disk.`,
    "use a tmpfs of your own, mounted with noswap (Linux 6.4), or turn swap off: swapoff -a",
  );
};

/** Does the control group of this process let it fill a region? */
export const cgroup: Check = (host, subject) => {
  const name = "cgroup limit";
  const limit = memoryLimit(host);
  if (!subject.isShared)
    return ok(name, "The region is no shared memory: hardly any of it counts for the control group.");
  if (limit === undefined) return ok(name, "No control group limits the memory of this process.");
  const found = subject.path.startsWith("fd:") ? undefined : host.room(folderOf(host, subject));
  const wanted = subject.sizeBytes ?? found?.sizeBytes ?? 0;
  const told = `${limit.file} is ${formatSize(limit.bytes)}, and shared memory counts`;
  if (limit.bytes > wanted) return ok(name, `${told}: more than the ${formatSize(wanted)} in question.`);
  const remedy = "raise the limit (MemoryMax= of a service, --memory of a container) above the size of the region";
  if (subject.sizeBytes !== undefined) {
    return fail(name, `${told}: who fills the region's ${formatSize(wanted)} is killed.`, remedy);
  }
  return warn(name, `${told}: who fills more is killed, though the place has ${formatSize(wanted)}.`, remedy);
};

interface Limit {
  readonly file: string;
  readonly bytes: number;
}

/** The lowest limit of the groups that this process is in, and of those above them. */
function memoryLimit(host: Host): Limit | undefined {
  const groups = (host.read("/proc/self/cgroup") ?? "").split("\n").map((line) => line.split(":"));
  const limits = groups.flatMap(([, controllers, path]): Limit[] => {
    if (controllers === "") return limitsAbove(host, "/sys/fs/cgroup", path, ["memory.max", "memory.high"]);
    if (!controllers?.split(",").includes("memory")) return [];
    return limitsAbove(host, "/sys/fs/cgroup/memory", path, ["memory.limit_in_bytes"]);
  });
  // Version 1 says "no limit" as the largest number there is.
  const memory = meminfo(host, "MemTotal") ?? Number.POSITIVE_INFINITY;
  return limits.filter(({ bytes }) => bytes < memory).sort((a, b) => a.bytes - b.bytes)[0];
}

// In a container the group's own path may not be there, but its root is.
function limitsAbove(host: Host, root: string, path: string, files: readonly string[]): Limit[] {
  const parts = path.split("/").filter((part) => part !== "");
  const folders = Array.from({ length: parts.length + 1 }, (_, k) => [root, ...parts.slice(0, k)].join("/"));
  return folders
    .flatMap((folder) => files.map((file) => `${folder}/${file}`))
    .map((file) => ({ file, bytes: Number.parseInt(host.read(file) ?? "", 10) }))
    .filter(({ bytes }) => !Number.isNaN(bytes));
}

/** May the kernel refuse memory that is there? */
export const overcommit: Check = (host, subject: Subject) => {
  const name = "overcommit";
  const mode = host.read("/proc/sys/vm/overcommit_memory")?.trim() ?? "0";
  if (mode !== STRICT) return ok(name, `vm.overcommit_memory is ${mode}: memory that is there is given.`);
  const left = Math.max(0, (meminfo(host, "CommitLimit") ?? 0) - (meminfo(host, "Committed_AS") ?? 0));
  const wanted = subject.sizeBytes ?? 0;
  const told = `vm.overcommit_memory is 2, ${formatSize(left)} may still be promised`;
  if (left > wanted && wanted > 0) return ok(name, `${told}: enough for a reader of ${formatSize(wanted)}.`);
  return warn(
    name,
    `${told}: making a region, and each reader of one, takes its whole size of that.`,
    "set vm.overcommit_memory to 0, or raise vm.overcommit_ratio",
  );
};

/** Is memory set aside that no region can have? */
export const hugePages: Check = (host, { isShared, mount }) => {
  const name = "huge pages";
  const reserved = meminfo(host, "Hugetlb") ?? 0;
  const total = meminfo(host, "MemTotal") ?? 0;
  if (reserved > total / 4) {
    const text = `${formatSize(reserved)} of ${formatSize(total)} are set aside for hugetlb: no region can have them.`;
    return warn(name, text, "lower vm.nr_hugepages if nobody uses them");
  }
  const option = mount?.options.find((one) => one.startsWith("huge="));
  const setting = /\[(\w+)\]/.exec(host.read("/sys/kernel/mm/transparent_hugepage/shmem_enabled") ?? "")?.[1];
  if (!isShared) return ok(name, "The region is no shared memory: nothing to set.");
  return ok(
    name,
    `For shared memory: ${option ?? "no huge= on the mount"}, shmem_enabled ${setting ?? "unknown"}; speed only.`,
  );
};
