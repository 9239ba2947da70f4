import { DEFAULT_PORT } from "./protocol.ts";

/** Where a server listens. */
export type Address =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp"; readonly host: string; readonly port: number };

/**
 * The URI by which clients reach an export, as nbdinfo, qemu and nbdcopy take it (the NBD URI specification). With
 * `encrypted` they insist on TLS.
 */
export function exportUri(address: Address, exportName: string, encrypted = false): string {
  const scheme = encrypted ? "nbds" : "nbd";
  const name = encodeURIComponent(exportName);
  if (address.kind === "unix") return `${scheme}+unix:///${name}?socket=${encodePath(address.path)}`;
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  const port = address.port === DEFAULT_PORT ? "" : `:${address.port}`;
  return `${scheme}://${host}${port}/${name}`;
}

/** Slashes stay readable; everything else that a query cannot hold is escaped. */
function encodePath(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/");
}
