import type { Log } from "./log.ts";
import type { FromWorker } from "./worker-mail.ts";

/** A log whose lines are told to the main thread. */
export function threadLog(post: (mail: FromWorker) => void): Log {
  const tell =
    (level: "debug" | "info" | "warn" | "error") =>
    (fields: object, message: string): void =>
      post({ kind: "log", level, fields, message });
  return { debug: tell("debug"), info: tell("info"), warn: tell("warn"), error: tell("error") };
}
