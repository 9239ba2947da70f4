/** The service: what a running server lets others ask of it, through its control socket. */
export { askOwner } from "./control-client.ts";
export { ControlServer } from "./control-server.ts";
export { type Changes, changes, type Exports, type QuotaBytes, quotaOf } from "./operations.ts";
export { ServedDisks } from "./served-disks.ts";
