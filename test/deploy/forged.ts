/**
 * What a caller may say about itself that is not true, and a caller that says it.
 */
import { connect } from "node:net";

/** Not the balancer's own address, so that one is told from the other. */
export const CALLER = "127.0.0.9";

export const FORGED = [
  {
    says: "each forwarding header",
    lines: "X-Real-IP: 6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n",
  },
  { says: "several lines of each", lines: "X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n".repeat(3) },
  {
    says: "proto, host, port and others",
    lines:
      "X-Forwarded-Proto: 6.6.6.6\r\nX-Forwarded-Host: 6.6.6.6\r\nX-Forwarded-Port: 666\r\nX-Forwarded-Prefix: /6.6.6.6\r\n",
  },
  {
    says: "other spellings",
    lines: "X_Real_IP: 6.6.6.6\r\nX-FORWARDED-FOR: 6.6.6.6\r\nx_forwarded_for: 6.6.6.6\r\nx-real_ip: 6.6.6.6\r\n",
  },
  {
    says: "names in Connection",
    lines: "Connection: X-Real-IP, X-Forwarded-For, X-Forwarded-Proto\r\nX-Real-IP: 6.6.6.6\r\n",
  },
  {
    says: "lists and empty values",
    lines: "X-Forwarded-For: 6.6.6.6, 127.0.0.1,\r\nX-Real-IP:\r\nX-Forwarded-For: ,\r\n",
  },
];

/** One request. @returns all that came back */
export function callFrom(port: number, lines: string, localAddress = CALLER): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", localAddress });
    let seen = "";
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => {
      seen += text;
    });
    socket.on("close", () => resolve(seen));
    socket.on("error", reject);
    socket.write(`GET /x HTTP/1.1\r\nHost: api.example:1234\r\n${lines}Connection: close\r\n\r\n`);
  });
}
