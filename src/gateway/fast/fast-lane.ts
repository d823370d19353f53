/**
 * The fast lane: our own HTTP/1.1 relay over the client's socket for plainly well-formed requests; everything else goes,
 * with its unread bytes, to the general lane for the rest of that connection.
 */
import type { Socket } from "node:net";
import type { ClientConnection } from "../client-connection.ts";
import type { GatewayContext } from "../gateway-context.ts";
import { DateLine } from "../http/response-text.ts";
import { FastConnection, type FastContext } from "./fast-connection.ts";

interface FastLane {
  accept(socket: Socket, facts: ClientConnection): void;
  /** Ends connections on which nothing runs. @param alsoUnused those that no request came on, too */
  closeIdle(alsoUnused: boolean): void;
}

/** @param handOver takes sockets that another lane must serve; unread bytes were put back */
export function openFastLane(context: GatewayContext, handOver: (socket: Socket, unread: Buffer) => void): FastLane {
  const open = new Set<FastConnection>();
  const shared: FastContext = {
    context,
    date: new DateLine(context.clock),
    handOver,
    left: (connection) => void open.delete(connection),
  };
  return {
    accept: (socket, facts) => void open.add(new FastConnection(socket, facts, shared)),
    closeIdle: (alsoUnused) => {
      for (const connection of [...open]) connection.endIdle(alsoUnused);
    },
  };
}
