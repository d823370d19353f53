/**
 * A GET with headers that fetch does not send, such as a Host of one's own.
 */
import { request } from "node:http";

export function send(
  port: number,
  path: string,
  headers: Readonly<Record<string, string>>,
): Promise<{ readonly status: number; readonly text: string }> {
  return new Promise((done, fail) => {
    const asked = request({ host: "127.0.0.1", port, path, headers, agent: false }, (answer) => {
      let text = "";
      answer.setEncoding("utf8");
      answer.on("data", (chunk: string) => {
        text += chunk;
      });
      answer.on("end", () => done({ status: answer.statusCode ?? 0, text }));
    });
    asked.on("error", fail);
    asked.end();
  });
}
