/** Which calls of the memory gateway were the last thing before a crash, out of all that stand in the code. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type MemoryEvent, Recording } from "../../src/testing/index.ts";

const compiled: string = join(import.meta.dirname, "../../src");
const folders = ["region", "format"];
/** A call of the gateway, or of what only forwards to it. */
const call = /\.(?:commit32|commit64|or32|fill|zero|flush|fence|flushAll|sync)\(|\b(?:persist|fillAcrossWindows)\(/;
const methodHead = /^\s*\w+\([^()]*\) \{$/;
const frame = /\/src\/((?:region|format)\/[\w-]+\.js):(\d+):/g;

/** The calls of the gateway in the compiled code: place and text. */
export function everySite(): Map<string, string> {
  const sites = new Map<string, string>();
  for (const folder of folders) {
    for (const name of readdirSync(join(compiled, folder)).filter((file) => file.endsWith(".js"))) {
      const lines = readFileSync(join(compiled, folder, name), "utf8").split("\n");
      lines.forEach((line, at) => {
        if (call.test(line) && !methodHead.test(line)) sites.set(`${folder}/${name}:${at + 1}`, line.trim());
      });
    }
  }
  return sites;
}

/** The places of our code in a stack, the innermost first. */
export function placesIn(stack: string): string[] {
  return Array.from(stack.matchAll(frame), ([, file, line]) => `${file}:${line}`);
}

class StoreSites {
  readonly #places = new Set<string>();

  /** From here on events tell where they come from. */
  record(): void {
    Recording.recordsOrigins = true;
    Error.stackTraceLimit = 24;
  }

  get isRecording(): boolean {
    return Recording.recordsOrigins;
  }

  /** @returns whether a crash right after the event is to be judged now */
  note({ origin }: MemoryEvent): boolean {
    if (origin === undefined) return false;
    for (const place of placesIn(origin.stack ?? "")) this.#places.add(place);
    return true;
  }

  /** Calls after which no crash was tried. */
  missing(): Map<string, string> {
    return new Map([...everySite()].filter(([place]) => !this.#places.has(place)));
  }
}

/** One for the process, as the switch of the recordings is. */
export const storeSites: StoreSites = new StoreSites();
