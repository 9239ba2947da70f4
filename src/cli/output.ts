import { styleText } from "node:util";
import Table from "cli-table3";

type Style = Parameters<typeof styleText>[0];

/** Adds colour where the stream is a terminal that has some and the user did not turn it off (NO_COLOR). */
export function paint(stream: NodeJS.WriteStream, style: Style, text: string): string {
  const hasColor = stream.isTTY && stream.getColorDepth() > 1;
  return hasColor ? styleText(style, text, { validateStream: false }) : text;
}

/** Writes lines. */
export function print(stream: NodeJS.WriteStream, ...lines: readonly string[]): void {
  stream.write(`${lines.join("\n")}\n`);
}

/** Writes what came of a command. Names stand in it, so what would steer a terminal is escaped; no colours. */
export function tell(stream: NodeJS.WriteStream, ...lines: readonly string[]): void {
  print(stream, ...lines.map(printable));
}

/** Writes one value as JSON; what is undefined is null, so that every field is always there. */
export function printJson(stream: NodeJS.WriteStream, value: unknown): void {
  print(stream, JSON.stringify(value, nullForUndefined, 2));
}

/** One value as JSON on one line, for streams of values. */
export function jsonLine(value: unknown): string {
  return JSON.stringify(value, nullForUndefined);
}

/** A column of a table. Numbers stand on the right. */
export interface Column {
  readonly head: string;
  readonly align?: "left" | "right";
}

/** Writes a table without rulers, as `ls -l` and `ps` do. */
export function printTable(
  stream: NodeJS.WriteStream,
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
): void {
  const table = plainTable(columns.map(({ align }) => align ?? "left"));
  table.push(columns.map(({ head }) => paint(stream, "dim", head)));
  for (const row of rows) table.push([...row]);
  print(stream, ...trimmedLines(table));
}

/** Writes facts as two columns: what, and its value. */
export function printFacts(stream: NodeJS.WriteStream, facts: readonly (readonly [string, string])[]): void {
  const table = plainTable(["left", "left"]);
  for (const [label, value] of facts) table.push([paint(stream, "dim", label), value]);
  print(stream, ...trimmedLines(table));
}

/** Breaks a text between words into lines of at most `width` columns; a longer word has a line of its own. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}

/** A moment for people: to the second, in UTC, as it sorts. */
export function formatTime(date: Date): string {
  return date.toISOString().slice(0, 19).replace("T", " ");
}

/** A count with the word for it. */
export function plural(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}

/** A name from the media for a terminal: what would steer it is escaped. */
export function printable(name: string): string {
  return name.replaceAll(/\p{C}/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}

function nullForUndefined(_key: string, value: unknown): unknown {
  return value === undefined ? null : value;
}

function plainTable(colAligns: ("left" | "right")[]): Table.Table {
  const none = { top: "", "top-mid": "", "top-left": "", "top-right": "", bottom: "", "bottom-mid": "" };
  const corners = { "bottom-left": "", "bottom-right": "", left: "", "left-mid": "", mid: "", "mid-mid": "" };
  return new Table({
    chars: { ...none, ...corners, right: "", "right-mid": "", middle: "  " },
    style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
    colAligns,
  });
}

/** Tables are padded to their width; lines that people copy should not end in blanks. */
function trimmedLines(table: Table.Table): string[] {
  return table
    .toString()
    .split("\n")
    .map((line) => line.trimEnd());
}
