/** The NBD server: disks for qemu, the Linux kernel, libnbd and whoever else speaks the protocol. */
export { takeActivationFds } from "./activation.ts";
export type { Connection } from "./connection-table.ts";
export type { Log } from "./log.ts";
export { NbdServer, type NbdServerOptions } from "./server.ts";
export type { TlsMode, TlsOptions } from "./tls-options.ts";
