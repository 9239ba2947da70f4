import { Presets, SingleBar } from "cli-progress";
import { formatSize } from "../base/index.ts";

/** Tells how far a long piece of work is. */
export interface ProgressBar {
  show(doneBytes: number): void;
  /** Takes the bar away, so that only results stay on the screen. */
  stop(): void;
}

/** Shows a bar where the stream is a terminal, and nothing elsewhere. */
export function startProgress(stream: NodeJS.WriteStream, label: string, totalBytes: number): ProgressBar {
  const format = `${label} {bar} {percentage}% of ${formatSize(totalBytes)}, {eta_formatted} left`;
  const bar = new SingleBar({ stream, format, clearOnComplete: true, barsize: 30 }, Presets.shades_classic);
  bar.start(totalBytes, 0);
  return {
    show: (doneBytes) => bar.update(doneBytes),
    stop: () => bar.stop(),
  };
}
