// The house rules as functions from text to findings. They lean on the formatter (one statement a line, two spaces a
// level, a closing brace below the line it closes), so that they need no parser.

/** A finding: the line, counted from 1, and what is wrong there. */
export type Finding = string;

/** The modules that a source imports, loads with `import()` or `require()`, or takes types from. */
export function importsOf(source: string): string[] {
  const code = withoutComments(source);
  const statements = /^(?:import|export)\s+(?:[\w$*{},\s]+?\s+from\s+)?"([^"]+)"/gm;
  const calls = /\b(?:import|require)\(\s*"([^"]+)"/g;
  return [statements, calls].flatMap((pattern) => [...code.matchAll(pattern)].map((match) => match[1]));
}

/** Lines that are longer than `limit`, and the file itself where it has more than `lineLimit` lines. */
export function findLong(source: string, limits: { columns: number; lines: number }): Finding[] {
  const lines = source.trimEnd().split("\n");
  const long = lines.flatMap((line, k) => (line.length > limits.columns ? [`${k + 1}: ${line.length} columns`] : []));
  return lines.length > limits.lines ? [...long, `${lines.length} lines: which two concepts does it hold?`] : long;
}

/** Functions that have more than `limit` lines. A suite of tests is a list, not a function. */
export function findLongFunctions(source: string, limit: number): Finding[] {
  const lines = source.split("\n");
  return lines.flatMap((line, start) => {
    if (!opensFunction(line)) return [];
    const indent = indentOf(line);
    const length =
      lines.slice(start + 1).findIndex((later) => indentOf(later) === indent && /^\s*[}\])]/.test(later)) + 2;
    return length > limit ? [`${start + 1}: a function of ${length} lines`] : [];
  });
}

/** Exported functions and classes without a doc comment directly above them. */
export function findUndocumented(source: string): Finding[] {
  const lines = source.split("\n");
  const declaration = /^export (?:default )?(?:abstract )?(?:async )?(?:function\*?|class) (\w+)/;
  return lines.flatMap((line, k) => {
    const name = declaration.exec(line)?.[1];
    if (name === undefined) return [];
    const above = lines.slice(0, k).findLast((earlier) => !earlier.startsWith("//")) ?? "";
    const documented = above.endsWith("*/") || declaration.exec(above)?.[1] === name;
    return documented ? [] : [`${k + 1}: ${name} is exported without a doc comment`];
  });
}

/** Whether a file's first thing is a comment that holds a sentence. */
export function beginsWithSentence(source: string): boolean {
  return /^(?:\/\*\*?|\/\/)[\s*]*[A-Z`](?:(?!\*\/)[^.])*\.(?:\s|$)/.test(source);
}

/** Lines of code, comments left out, that match a pattern. */
export function findCode(source: string, pattern: RegExp): Finding[] {
  return findText(withoutComments(source), pattern);
}

/** Lines that match a pattern. */
export function findText(source: string, pattern: RegExp): Finding[] {
  return source.split("\n").flatMap((line, k) => {
    const found = pattern.exec(line)?.[0];
    return found === undefined ? [] : [`${k + 1}: ${found}`];
  });
}

/** Blanks the lines that are comments as a whole; the others keep their numbers. */
function withoutComments(source: string): string {
  return source.replaceAll(/^[ \t]*(?:\/\/.*|\/\*[^]*?\*\/[ \t]*)$/gm, (comment) => comment.replaceAll(/[^\n]/g, ""));
}

function opensFunction(line: string): boolean {
  if (/^\s*(?:\/\/|\*|(?:describe|suite)\()/.test(line)) return false;
  const method = /^\s+(?:static |override |async |get |set |\*|#)*[\w$[\].]+(?:<.*>)?\(.*\{$/;
  const keyword = /^\s*(?:if|for|while|switch|catch|return|do)\b/;
  return /(?:\bfunction\b.*|=> )[{(]$/.test(line) || (method.test(line) && !keyword.test(line)) || opensLongHead(line);
}

/** The last line of a head that the formatter broke into several, as `): Promise<void> {`. */
function opensLongHead(line: string): boolean {
  return /^\s*\)(?:: .*)? \{$/.test(line);
}

function indentOf(line: string): number {
  return line.search(/\S|$/);
}
