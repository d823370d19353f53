/**
 * A secret manager on loopback: keeps every request as it came, and answers as told. Its Vault face is a small KV store.
 */
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface SeenRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  /** Names as they were spelled. */
  readonly rawHeaders: readonly string[];
  readonly body: string;
}

export interface SecretServer {
  readonly url: string;
  readonly seen: SeenRequest[];
  /** Answers of the next requests; by default 404. */
  answer: (request: SeenRequest, response: ServerResponse) => void;
  close(): Promise<void>;
}

export async function openSecretServer(): Promise<SecretServer> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const { method = "", url = "", headers, rawHeaders } = request;
      const one = { method, url, headers, rawHeaders, body: Buffer.concat(chunks).toString() };
      made.seen.push(one);
      made.answer(one, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // True: the server listens on a TCP port.
  const { port } = server.address() as AddressInfo;
  const made: SecretServer = {
    url: `http://127.0.0.1:${port}`,
    seen: [],
    answer: (_request, response) => sendJson(response, 404, { errors: [] }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return made;
}

export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
}

/** Makes the server a Vault with token `root`: path below /v1/ → what a KV engine holds there. */
export function serveVault(server: SecretServer, store: ReadonlyMap<string, unknown>): void {
  server.answer = (request, response) => {
    if (request.headers["x-vault-token"] !== "root") return sendJson(response, 403, { errors: ["permission denied"] });
    const data = store.get(request.url.replace("/v1/", ""));
    return data === undefined ? sendJson(response, 404, { errors: [] }) : sendJson(response, 200, { data });
  };
}
