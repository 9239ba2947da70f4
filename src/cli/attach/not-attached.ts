import { PerdureError } from "../../base/index.ts";
import type { Attachment } from "./attachment.ts";

/** The error for what is not attached: it names what is. */
export function notAttached(message: string, attachments: readonly Attachment[]): PerdureError {
  const named = attachments.map(({ device, mountPoint }) =>
    mountPoint === undefined ? device : `${device} on ${mountPoint}`,
  );
  const remedy = named.length === 0 ? "nothing is attached by this user" : `attached are: ${named.join(", ")}`;
  return new PerdureError("ENOENT", message, { remedy });
}
