import { type Check, fail, ok } from "./verdict.ts";

/** package.json says the same, and a test compares them. */
export const oldestNode = "20.19";
/** A region is one mapping, whatever its size. */
const MAPS_PER_REGION = 1;
/** Threads, libraries and the garbage collector make maps as they go. */
const SPARE_MAPS = 1000;

/** Can this process map a region? proc_sys_vm(5), max_map_count. */
export const maps: Check = (host) => {
  const name = "maps";
  const limit = Number(host.read("/proc/sys/vm/max_map_count") ?? Number.NaN);
  const used = (host.read("/proc/self/maps") ?? "").split("\n").length - 1;
  const told = `a region of any size takes ${MAPS_PER_REGION} of them`;
  if (Number.isNaN(limit)) return ok(name, `The kernel tells no vm.max_map_count; ${told}.`);
  const text = `vm.max_map_count is ${limit}, Node uses ${used} maps, ${told}.`;
  if (limit >= used + MAPS_PER_REGION + SPARE_MAPS) return ok(name, text);
  return fail(name, text, "raise it: sysctl -w vm.max_map_count=65530");
};

/** Is this Node new enough? */
export const node: Check = (host) => {
  const [major, minor] = host.nodeVersion.split(".").map(Number);
  const [oldestMajor, oldestMinor] = oldestNode.split(".").map(Number);
  const isNew = major > oldestMajor || (major === oldestMajor && minor >= oldestMinor);
  if (isNew) return ok("Node.js", `Node.js ${host.nodeVersion}.`);
  return fail("Node.js", `Node.js ${host.nodeVersion} is too old.`, `install Node.js ${oldestNode} or newer`);
};
