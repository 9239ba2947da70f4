import { PerdureError } from "../base/index.ts";
import { DEFAULT_PORT } from "./protocol.ts";

/** Where a server listens. */
export type Address =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp"; readonly host: string; readonly port: number };

/** An export of a server. */
export interface RemoteExport {
  readonly address: Address;
  /** Empty for the only one of the server. */
  readonly name: string;
}

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

/**
 * Reads what `exportUri` writes, without encryption.
 *
 * @throws EINVAL for other URIs
 */
export function parseExportUri(text: string): RemoteExport {
  const uri = URL.canParse(text) ? new URL(text) : undefined;
  const wrong = (problem: string): PerdureError =>
    new PerdureError("EINVAL", `${text}: ${problem}`, {
      remedy: "write nbd+unix:///NAME?socket=PATH or nbd://HOST:PORT/NAME",
    });
  if (uri === undefined) throw wrong("no URI");
  if (uri.protocol.startsWith("nbds")) throw wrong("TLS is not spoken here");
  const name = decode(uri.pathname.replace(/^\//, ""));
  if (name === undefined) throw wrong("the name of the export is no UTF-8");
  const socket = uri.searchParams.get("socket") ?? "";
  if (uri.protocol === "nbd+unix:" && socket !== "") return { address: { kind: "unix", path: socket }, name };
  if (uri.protocol !== "nbd:" || uri.hostname === "") throw wrong("no place of an NBD server");
  const host = uri.hostname.replace(/^\[(.*)\]$/, "$1");
  const port = uri.port === "" ? DEFAULT_PORT : Number(uri.port);
  return { address: { kind: "tcp", host, port }, name };
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
