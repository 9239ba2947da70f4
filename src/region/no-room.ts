import { PerdureError } from "../base/index.ts";

/** There are too few free pages; says how many more there would have to be, so that nothing is purged in vain. */
export class NoRoomError extends PerdureError {
  /** At least so many: as far as it can be told. */
  readonly missingPages: number;

  constructor(source: string, pages: number, missingPages: number) {
    super("ENOSPC", `${source} has no room for ${pages === 1 ? "a page" : `${pages} pages`}`);
    this.missingPages = missingPages;
  }
}
