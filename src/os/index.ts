/** Floor 1: the only place that loads koffi and knows the numbers of the kernel's interfaces. */
export { isByteLocked, lockByte } from "./file-lock.ts";
export { createMemfd, linkOpenFile, nextHole, punchHole, reserve, SystemCallError } from "./libc.ts";
export { Mapping } from "./mapping.ts";
