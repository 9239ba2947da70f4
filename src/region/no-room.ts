import { PerdureError } from "../base/index.ts";
import type { InstanceState } from "./instance-state.ts";

/** There are too few free pages; says how many more there would have to be, so that nothing is purged in vain. */
export class NoRoomError extends PerdureError {
  /** At least so many: as far as it can be told. */
  readonly missingPages: number;

  constructor(source: string, pages: number, missingPages: number) {
    super("ENOSPC", `${source} has no room for ${pages === 1 ? "a page" : `${pages} pages`}`);
    this.missingPages = missingPages;
  }
}

/** @throws EDQUOT when so many more pages are more than an instance may have */
export function refuseQuota({ pages, record }: InstanceState, more: number): void {
  const most = record.quotaMaxPages;
  if (most === 0 || pages + more <= most) return;
  throw new PerdureError("EDQUOT", `"${record.name}" has ${pages} pages, and its quota is ${most}`);
}
