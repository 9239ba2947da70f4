import type { RegionUse } from "../region/index.ts";

/** The use of a region in words. */
export function describeUse(state: RegionUse, ownerPid: number | undefined): string {
  switch (state) {
    case "new":
      return "new: formatted and never opened";
    case "closed":
      return `closed by process ${ownerPid}; the next start is warm`;
    case "open":
      return `open in process ${ownerPid}`;
    case "not-closed":
      return `not closed by process ${ownerPid}, which is gone; the next start recovers it`;
  }
}
