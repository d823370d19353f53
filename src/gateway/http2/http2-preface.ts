/**
 * HTTP/2 with prior knowledge on the plain listener: who begins a connection with its preface is served by the HTTP/2 lane.
 * Promise: no byte is lost or read twice; a peer that says nothing costs one socket for `headTimeoutMs`.
 * Source: RFC 9113 sections 3.3 and 3.4.
 */
import type { Socket } from "node:net";
import type { GatewayContext } from "../gateway-context.ts";
import { Deadline } from "../timer-wheel.ts";

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\n", "latin1");

/** @param bytes the first of a connection */
export function isHttp2Preface(bytes: Buffer | undefined): boolean {
  return bytes?.subarray(0, PREFACE.length).equals(PREFACE) === true;
}

/** Whether more bytes can make the preface of these. */
function canBecomePreface(bytes: Buffer): boolean {
  return bytes.length < PREFACE.length && PREFACE.subarray(0, bytes.length).equals(bytes);
}

/** Reads as much as tells the protocol, puts it back, and gives the socket away. Where no lane reads before. */
export function readPreface(
  context: GatewayContext,
  socket: Socket,
  decided: (socket: Socket, isHttp2: boolean) => void,
): void {
  let held = Buffer.alloc(0);
  const deadline = new Deadline(() => socket.destroy());
  const end = (): void => {
    context.wheel.remove(deadline);
    socket.off("readable", look);
    socket.off("close", end);
    socket.off("end", leave);
  };
  const leave = (): void => void socket.destroy();
  const look = (): void => {
    // True: no encoding is set.
    for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null)
      held = Buffer.concat([held, chunk]);
    if (held.length === 0 || socket.destroyed || canBecomePreface(held)) return;
    end();
    socket.unshift(held);
    decided(socket, isHttp2Preface(held));
  };
  context.wheel.arm(deadline, context.settings.headTimeoutMs);
  socket.on("readable", look);
  socket.on("close", end);
  socket.on("end", leave);
}
