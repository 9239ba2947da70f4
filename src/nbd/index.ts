/** The NBD server: disks for qemu, the Linux kernel, libnbd and whoever else speaks the protocol. */

export type { AllowList } from "./access.ts";
export { takeActivationFds } from "./activation.ts";
export type { Connection } from "./connection-table.ts";
export type { ExportOptions } from "./exports.ts";
export type { Log } from "./log.ts";
export { NbdRelay, type NbdRelayOptions } from "./relay.ts";
export { NbdServer, type NbdServerOptions } from "./server.ts";
export type { TrafficLimits } from "./throttle.ts";
export type { TlsMode, TlsOptions } from "./tls-options.ts";
export { exportUri, parseExportUri, type RemoteExport } from "./uri.ts";
