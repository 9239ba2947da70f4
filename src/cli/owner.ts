import type { RegionUse } from "../region/index.ts";

/** The use of a region in words. */
export function describeUse(state: RegionUse, ownerPid: number | undefined): string {
  const who = ownerPid === undefined ? "" : ` by process ${ownerPid}`;
  switch (state) {
    case "new":
      return "new: formatted and never opened";
    case "closed":
      return `closed${who}; the next start is warm`;
    case "open":
      return ownerPid === undefined ? "open in another process" : `open in process ${ownerPid}`;
    case "not-closed":
      return `not closed${ownerPid === undefined ? "" : `${who}, which is gone`}; the next start recovers it`;
  }
}
