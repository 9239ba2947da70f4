// What a run has done, in numbers, for the one table that `npm test` and `npm run torture` print.

import { appendFileSync } from "node:fs";

/** Adds numbers by name; those of one name are summed. Without somebody who asks for figures they go nowhere. */
export function addFigures(figures: Readonly<Record<string, number>>): void {
  const path = process.env["PERDURE_FIGURES"];
  if (path !== undefined) appendFileSync(path, `${JSON.stringify(figures)}\n`);
}
