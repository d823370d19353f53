/**
 * HTTP/2 for connections that agreed on it, by TLS or by their first bytes: all sessions of the gateway, begun and drained together.
 */
import type { Socket } from "node:net";
import type { ClientConnection } from "../client-connection.ts";
import type { GatewayContext } from "../gateway-context.ts";
import { Http2Session } from "./http2-session.ts";

interface Http2Lane {
  /** Open connections. */
  readonly count: number;
  accept(socket: Socket, connection: ClientConnection): void;
  /** Closes each connection in its next quiet moment. */
  announceEnd(): void;
  /**
   * No connection takes another request; each ends as soon as those it has are answered.
   * @param alsoUnused those that have had none, too
   */
  drain(alsoUnused: boolean): void;
}

export function openHttp2Lane(context: GatewayContext): Http2Lane {
  const sessions = new Set<Http2Session>();
  const received = (): void => context.metrics.http2.inc();
  return {
    get count() {
      return sessions.size;
    },
    accept(socket, connection) {
      const session = new Http2Session(context, socket, connection, received, () => sessions.delete(session));
      sessions.add(session);
    },
    announceEnd() {
      for (const session of sessions) session.announceEnd();
    },
    drain(alsoUnused) {
      for (const session of sessions) if (alsoUnused || !session.isUnused) session.drain();
    },
  };
}
