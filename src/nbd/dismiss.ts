import type { Clock } from "./clock.ts";

/** A connection that can be asked to end. */
export interface Leaving {
  /** Refuses everything new. Resolves when what was begun is answered. */
  drain(): Promise<void>;
  end(): void;
  destroy(): void;
  readonly gone: Promise<void>;
}

/** Lets connections answer what they have begun, ends them, and cuts what is not gone in time. */
export async function dismiss(leaving: readonly Leaving[], clock: Clock, drainTimeoutMs: number): Promise<void> {
  const cancel = clock.after(drainTimeoutMs, () => {
    for (const connection of leaving) connection.destroy();
  });
  await Promise.all(
    leaving.map(async (connection) => {
      await connection.drain();
      connection.end();
      await connection.gone;
    }),
  );
  cancel();
}
