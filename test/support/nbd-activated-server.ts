// A server of one disk of 1 MiB on the sockets that were handed over; for `nbdinfo -- [ node FILE ]` and its like.

import { NbdServer, takeActivationFds } from "../../src/nbd/index.ts";
import { NbdMemoryDevice } from "./nbd-memory-device.ts";

const server = new NbdServer();
server.addExport(new NbdMemoryDevice(2 ** 20));
for (const fd of takeActivationFds()) await server.listenFd(fd);
process.once("SIGTERM", () => void server.close());
