import { lstatSync } from "node:fs";
import { resolve } from "node:path";
import { PerdureError } from "../../base/index.ts";
import { exportUri, parseExportUri } from "../../nbd/index.ts";

/**
 * The URI of a disk that is to be attached.
 *
 * @param source A region, whose server listens next to it; a socket; or a URI, which names the disk itself
 * @param name Empty for the only disk of the server
 * @throws EINVAL
 */
export function diskUri(source: string, name: string): string {
  if (/^nbds?(?:\+\w+)?:/.test(source)) {
    const place = parseExportUri(source);
    if (name !== "") throw new PerdureError("EINVAL", "a URI names its disk itself", { remedy: `leave "${name}" out` });
    const { address } = place;
    return exportUri(address.kind === "unix" ? { ...address, path: resolve(address.path) } : address, place.name);
  }
  if (source.startsWith("fd:") || source.startsWith("/dev/dax")) {
    throw new PerdureError("EINVAL", `${source} has no socket beside it`, {
      remedy: "name the URI that the server printed (ready …)",
    });
  }
  const isSocket = lstatSync(source, { throwIfNoEntry: false })?.isSocket() === true;
  return exportUri({ kind: "unix", path: resolve(isSocket ? source : `${source}.sock`) }, name);
}
