const signals = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

/**
 * Waits for the first signal that asks this process to stop. From the call on such a signal no longer ends the process
 * by itself; a second one does, at once, so that nobody is kept waiting against his will.
 */
export function stopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    const receive = (signal: NodeJS.Signals): void => {
      for (const name of signals) process.off(name, receive);
      resolve(signal);
    };
    for (const name of signals) process.on(name, receive);
  });
}
