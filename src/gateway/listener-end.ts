/**
 * The end of a listening socket. What the kernel has completed and nobody has accepted is reset with it, and between the
 * last accept and the close there is always a moment. So the queue is cut to one connection, that one is opened from
 * here, and while it waits nothing else gets in: then the socket is closed. Who asks meanwhile hears nothing, asks again
 * after a second, and is refused.
 * Source: https://man7.org/linux/man-pages/man2/listen.2.html; Linux sk_acceptq_is_full (include/net/sock.h)
 */
import { connect, type Server } from "node:net";

/** What of Node's handle of a socket is used; a Node that has none closes as it always did. */
interface SocketHandle {
  listen?(backlog: number): number;
  getpeername?(into: object): number;
}

/** Each lets in what has come; the first nearly always does. */
const TRIES = 200;
const BACKLOG = 1024;

/**
 * Resolves when no connection can wait to be accepted any more but one of this process: close in the same turn. Gives up
 * after some tries, and where there is no such queue.
 */
export async function plugQueue(server: Server): Promise<void> {
  const handle = handleOf(server);
  const address = server.address();
  if (process.platform !== "linux" || !handle?.listen || typeof address !== "object" || !address) return;
  if (handle.listen(0) !== 0) return;
  for (let tries = 0; tries < TRIES; tries++) {
    if (await fillsQueue(address.address, address.port)) return;
    await new Promise((resolve) => void setImmediate(resolve));
  }
  handle.listen(BACKLOG); // rather resets than callers that wait
}

/** @returns whether a connection from here waits in the queue, which then had nobody else in it */
async function fillsQueue(host: string, port: number): Promise<boolean> {
  const plug = connect({ host: reachable(host), port });
  plug.on("error", () => undefined);
  // Node connects in the next tick; what this machine answers itself is complete then, before anything else is accepted.
  await new Promise<void>((resolve) => process.nextTick(resolve));
  const isThere = handleOf(plug)?.getpeername?.({}) === 0;
  plug.destroy(); // it stays in the queue
  return isThere;
}

function reachable(host: string): string {
  if (host === "0.0.0.0") return "127.0.0.1";
  return host === "::" ? "::1" : host;
}

function handleOf(socket: object): SocketHandle | null | undefined {
  return (socket as { readonly _handle?: SocketHandle | null })._handle;
}
