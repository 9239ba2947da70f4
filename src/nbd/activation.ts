import { PerdureError } from "../base/index.ts";
import { maxActivationSockets } from "./limits.ts";

/** Handed over sockets start behind stdin, stdout and stderr. */
const firstFd = 3;

/**
 * The listening sockets that a service manager (or `nbdinfo -- [ command ]`) handed to this process, as fd numbers:
 * the `LISTEN_FDS` protocol of sd_listen_fds(3). The variables are removed, so that our children do not take the
 * sockets for theirs.
 *
 * @returns no numbers when nothing was handed over, or when it was meant for another process (`LISTEN_PID`)
 * @throws EINVAL when `LISTEN_FDS` is no count
 */
export function takeActivationFds(environment: NodeJS.ProcessEnv = process.env, pid: number = process.pid): number[] {
  const { LISTEN_FDS: countText, LISTEN_PID: pidText } = environment;
  if (countText === undefined || pidText !== String(pid)) return [];
  delete environment.LISTEN_FDS;
  delete environment.LISTEN_PID;
  delete environment.LISTEN_FDNAMES;
  const count = Number(countText);
  if (!Number.isInteger(count) || count < 1 || count > maxActivationSockets) {
    throw new PerdureError("EINVAL", `LISTEN_FDS is "${countText}"`, {
      remedy: `set LISTEN_FDS to the number of handed over sockets, 1 to ${maxActivationSockets}`,
    });
  }
  return Array.from({ length: count }, (_, k) => firstFd + k);
}
