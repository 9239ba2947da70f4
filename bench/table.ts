import Table from "cli-table3";
import type { Summary } from "./statistics.ts";

/** What a benchmark found: a table and what a reader must know about it. */
export interface Report {
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
  readonly notes: readonly string[];
}

/** Writes a report for a terminal; columns of figures stand to the right. */
export function render(report: Report): string {
  const { title, head, rows, notes } = report;
  const table = new Table({
    head: [...head],
    colAligns: head.map((_, column) => (isFigures(report, column) ? "right" : "left")),
    style: { head: [], border: [], compact: true },
  });
  table.push(...rows.map((row) => [...row]));
  return [title, table.toString(), ...notes, ""].join("\n");
}

/** Writes a report as Markdown, as docs/performance.md holds it. */
export function renderMarkdown(report: Report): string {
  const { title, head, rows, notes } = report;
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const rule = line(head.map((_, column) => (isFigures(report, column) ? "---:" : "---")));
  return [`## ${title}`, "", line(head), rule, ...rows.map(line), "", ...notes, ""].join("\n");
}

function isFigures({ rows }: Report, column: number): boolean {
  return rows.every((row) => /^[\d.–\-+ ]*( ms| ns| %|k| MiB\/s|×)?$/.test(row[column]));
}

/** Three significant digits, and no exponent: 0.123, 1.23, 12.3, 1234. */
export function figure(value: number): string {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3;
  return value.toFixed(digits);
}

/** The extremes of repeated measurements. */
export function span({ min, max }: Summary): string {
  return `${figure(min)}–${figure(max)}`;
}
