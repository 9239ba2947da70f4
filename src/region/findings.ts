/** One thing on media that no crash leaves behind. */
export interface Finding {
  /** Which part of the layout. */
  readonly where: "geometry" | "checksums" | "directory" | "frame" | "masks";
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
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(finding: Finding): void {
    this.#count++;
    if (this.list.length < MAX_FINDINGS) this.list.push(finding);
  }
}

/** One line for people. */
export function describeFinding(finding: Finding): string {
  const page = finding.page === undefined ? "" : ` of page ${finding.page}`;
  const owner = finding.owner === undefined ? "" : ` (owner ${finding.owner})`;
  return `${finding.where}${page}${owner}: expected ${finding.expected}, found ${finding.found}`;
}
