// The process that holds a disk in the background. Its first and only line of output tells how that went.

import { stderr, stdout } from "node:process";
import { isPerdureError } from "../../base/index.ts";
import { logTo } from "../serving.ts";
import { type KeeperPlan, keep } from "./keeper.ts";

const plan = JSON.parse(process.argv[2]) as KeeperPlan;
// Who started it may be gone by then.
stdout.on("error", () => {});
try {
  await keep(plan, logTo(stderr), (attachment) => stdout.write(`${JSON.stringify({ attachment })}\n`));
} catch (error) {
  const { message } = error as Error;
  const told = isPerdureError(error) ? { code: error.code, message, remedy: error.remedy } : { code: "EIO", message };
  stdout.write(`${JSON.stringify({ error: told })}\n`);
  process.exitCode = 1;
}
