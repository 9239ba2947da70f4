import type { CliContext } from "../context.ts";
import { type Host, thisHost } from "../doctor/host.ts";
import { logout } from "../doctor/logout.ts";
import { cgroup, hugePages, overcommit, swap } from "../doctor/pressure.ts";
import { maps, node } from "../doctor/process-limits.ts";
import { mountOptions, room } from "../doctor/room.ts";
import { subjectOf } from "../doctor/subject.ts";
import { clientTools, kernelClient } from "../doctor/tools.ts";
import type { Check, Level, Verdict } from "../doctor/verdict.ts";
import { exitCode } from "../exit-code.ts";
import { paint, print, printJson, wrap } from "../output.ts";

const checks: readonly Check[] = [
  room,
  mountOptions,
  logout,
  swap,
  cgroup,
  overcommit,
  hugePages,
  maps,
  node,
  ...clientTools,
  kernelClient,
];

const WIDTH = 80;
const colors = { ok: "green", warn: "yellow", fail: "red" } as const satisfies Record<Level, string>;

/** `perdure doctor`: what this machine will do to kept memory. */
export async function doctor(context: CliContext, flags: { json?: boolean }, region?: string): Promise<void> {
  const { stdout, env } = context.process;
  const verdicts = examine(thisHost(env), region);
  if (flags.json === true) printJson(stdout, verdicts);
  else printVerdicts(stdout, verdicts);
  // Every verdict has been told, so there is no error to print.
  if (verdicts.some(({ level }) => level === "fail")) process.exitCode = exitCode.failure;
}

/** Everything that the doctor has to say about a host. */
export function examine(host: Host, region: string | undefined): Verdict[] {
  const subject = subjectOf(host, region);
  return checks.map((check) => check(host, subject));
}

/** In columns: level, what, text; the remedy below. */
function printVerdicts(stream: NodeJS.WriteStream, verdicts: readonly Verdict[]): void {
  const width = Math.max(...verdicts.map(({ check }) => check.length));
  const indent = " ".repeat("warn".length + width + 4);
  for (const { check, level, text, remedy } of verdicts) {
    const head = `${paint(stream, colors[level], level.padEnd("warn".length))}  ${check.padEnd(width)}  `;
    const [first = "", ...others] = wrap(text, WIDTH - indent.length);
    const todo = remedy === undefined ? [] : wrap(`To do: ${remedy}`, WIDTH - indent.length);
    print(stream, `${head}${first}`, ...[...others, ...todo].map((line) => indent + line));
  }
}
