/**
 * What is wrong, for programs; a repair mends by it.
 *
 * - `head`, `geometry`, `state`: of the superblock
 * - `list`, `block`, `records`, `mask-pages`: a sum of the last close, of the list of checksums, of a part of the frame
 *   table, of all records, of all pages of masks
 * - `check`: a frame entry without a right check or of an illegal kind
 * - `metadata`: a page of metadata that does not say so
 * - `owner`, `kind`, `directory-page`: a claim of an owner that does not exist, of a kind that its owner does not have,
 *   of a page of the directory that it cannot be
 * - `name`: a claim too many of one name
 * - `run`: a run that is none
 * - `mark`: a claim above the high-water mark
 * - `record`: a record that cannot be read or makes no sense
 * - `parent`, `writable-parent`: a parent that does not exist or loops, one that is no snapshot
 * - `quota`: a guarantee of pages that there are not
 * - `mask`: one bit of a pair
 */
export type Problem =
  | "head"
  | "geometry"
  | "state"
  | "list"
  | "block"
  | "records"
  | "mask-pages"
  | "check"
  | "metadata"
  | "owner"
  | "kind"
  | "directory-page"
  | "name"
  | "run"
  | "mark"
  | "record"
  | "parent"
  | "writable-parent"
  | "quota"
  | "mask";

/** One thing on media that no crash leaves behind. */
export interface Finding {
  /** Which part of the layout. */
  readonly where: "geometry" | "state" | "checksums" | "directory" | "frame" | "masks";
  readonly problem: Problem;
  readonly page?: number;
  readonly owner?: number;
  readonly expected: string;
  readonly found: string;
}

/** A hostile image must not make the list grow without end. */
const MAX_FINDINGS = 1000;

/** Collects findings; counts those beyond the limit. */
export class Findings {
  readonly list: Finding[] = [];
  readonly #most: number;
  #count = 0;

  constructor(most: number = MAX_FINDINGS) {
    this.#most = most;
  }

  get count(): number {
    return this.#count;
  }

  add(finding: Finding): void {
    this.#count++;
    if (this.list.length < this.#most) this.list.push(finding);
  }
}

/** One line for people. */
export function describeFinding(finding: Finding): string {
  const page = finding.page === undefined ? "" : ` of page ${finding.page}`;
  const owner = finding.owner === undefined ? "" : ` (owner ${finding.owner})`;
  return `${finding.where}${page}${owner}: expected ${finding.expected}, found ${finding.found}`;
}
