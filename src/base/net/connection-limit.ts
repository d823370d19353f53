/**
 * A bound on the connections that one address may hold of a listener for operators, so that nobody takes all of them.
 * Those beyond it are closed at once. Promise: what is remembered is as much as there are connections.
 */
import type { Server, Socket } from "node:net";

export function limitConnections(server: Server, perAddress: number): void {
  const open = new Map<string, number>();
  server.on("connection", (socket: Socket) => {
    const address = socket.remoteAddress ?? "";
    const count = open.get(address) ?? 0;
    if (count >= perAddress) {
      socket.destroy();
      return;
    }
    open.set(address, count + 1);
    socket.once("close", () => {
      const left = (open.get(address) ?? 1) - 1;
      if (left <= 0) open.delete(address);
      else open.set(address, left);
    });
  });
}
