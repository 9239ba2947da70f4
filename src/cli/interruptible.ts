import type { LongOptions, Progress } from "../base/index.ts";
import { type ProgressBar, startProgress } from "./progress.ts";

/**
 * Runs a long piece of work with a bar on a terminal. Ctrl-C stops it cleanly: it throws ABORTED, which ends the
 * command with the exit code of an interrupted one. A second one ends the process at once.
 */
export async function interruptible<T>(
  stderr: NodeJS.WriteStream,
  work: (options: Required<LongOptions>) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const stop = (): void => controller.abort();
  process.once("SIGINT", stop);
  let bar: ProgressBar | undefined;
  let shown: Progress["what"] | undefined;
  const onProgress = ({ what, doneBytes, totalBytes }: Progress): void => {
    if (what !== shown) {
      bar?.stop();
      bar = startProgress(stderr, what, totalBytes);
      shown = what;
    }
    bar?.show(doneBytes);
  };
  try {
    return await work({ signal: controller.signal, onProgress });
  } finally {
    bar?.stop();
    process.off("SIGINT", stop);
  }
}
