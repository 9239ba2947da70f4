// Hazard: somebody who is taken for somebody else gets his disks.

import assert from "node:assert/strict";
import { once } from "node:events";
import { closeSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { networkInterfaces } from "node:os";
import { describe, test } from "node:test";
import { acceptNow, closeSocket, listenAtPort, peerOf, portOf } from "../src/os/index.ts";

/** Some machines have none. */
const hasIPv6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === "::1"));

describe("who is at the other end", () => {
  test("an IPv4 address is itself, however it comes; one of IPv6 stands for its network", async (t) => {
    const peerFrom = async (listening: string, host: string): Promise<ReturnType<typeof peerOf>> => {
      const listener = listenAtPort(listening, 0);
      const client: Socket = connect({ host, port: portOf(listener) });
      t.after(() => client.destroy());
      await once(client, "connect");
      const fd = acceptNow(listener);
      try {
        return peerOf(fd);
      } finally {
        closeSocket(fd);
        closeSocket(listener);
      }
    };
    const loopback = { address: "127.0.0.1", network: "127.0.0.1" };
    assert.deepEqual(await peerFrom("127.0.0.1", "127.0.0.1"), loopback);
    if (!hasIPv6) return;
    assert.deepEqual(await peerFrom("::", "127.0.0.1"), loopback);
    assert.deepEqual(await peerFrom("::1", "::1"), { address: "::1", network: "::/64" });
  });

  test("nobody is at the other end of what is no connection", () => {
    assert.equal(peerOf(-1), undefined);
    const listener = listenAtPort("127.0.0.1", 0);
    assert.equal(peerOf(listener), undefined);
    closeSync(listener);
  });
});
