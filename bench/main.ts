// `npm run bench`: measures, and prints tables with medians and ratios. Words choose of `open`, `alloc`, `thin`,
// `seals`, `nbd`, `nbd-crowd` and `nbd-tls`.

import { parseArgs } from "node:util";
import { benchAlloc } from "./alloc.ts";
import { benchNbd } from "./nbd.ts";
import { benchNbdCrowd } from "./nbd-crowd.ts";
import { benchNbdTls } from "./nbd-tls.ts";
import { benchOpen } from "./open.ts";
import { type Scale, scales } from "./scale.ts";
import { scratchFolder } from "./scratch.ts";
import { benchSeals } from "./seals.ts";
import { type Report, render, renderMarkdown } from "./table.ts";
import { benchThin } from "./thin.ts";
import { versions } from "./versions.ts";

type Benchmark = (scale: Scale, folder: string) => Promise<Report>;
const benchmarks: Readonly<Record<string, Benchmark>> = {
  open: benchOpen,
  alloc: benchAlloc,
  thin: benchThin,
  seals: benchSeals,
  nbd: benchNbd,
  "nbd-crowd": benchNbdCrowd,
  "nbd-tls": benchNbdTls,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: "boolean", default: false },
    tiny: { type: "boolean", default: false },
    markdown: { type: "boolean", default: false },
  },
});
const names = positionals.length === 0 ? Object.keys(benchmarks) : positionals;
const unknown = names.find((name) => benchmarks[name] === undefined);
if (unknown !== undefined) {
  console.error(`there is no benchmark "${unknown}": choose of ${Object.keys(benchmarks).join(", ")}`);
  process.exit(2);
}
const scale = values.tiny ? "tiny" : values.quick ? "quick" : "full";
console.log(`${versions()}\nscale: ${scale}\n`);
using scratch = scratchFolder();
for (const name of names) {
  const report = await benchmarks[name](scales[scale], scratch.path);
  console.log(values.markdown ? renderMarkdown(report) : render(report));
}
