/**
 * The console's files under `/ui/`, and the one-time link. The page holds no data: what it shows it asks of the Admin API
 * with the operator's key. Promise: nothing of a record is ever part of a page, and the page runs no code but its own files.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import staticFiles from "@fastify/static";
import type { FastifyInstance, FastifyReply } from "fastify";
import { parseBody, readBody } from "../admin-body.ts";
import type { OneTimeLink } from "./one-time-link.ts";

/** Where `npm run build` puts it, seen from the sources as from the build. */
export const CONSOLE_FOLDER = fileURLToPath(new URL("../../../dist/console", import.meta.url));

export interface ConsoleOptions {
  readonly folder: string;
  /** Absent where no terminal can show one. */
  readonly link?: OneTimeLink | undefined;
}

const POLICY = {
  "default-src": "'none'",
  "script-src": "'self'",
  "style-src": "'self'",
  "img-src": "'self' data:",
  "connect-src": "'self'",
  "base-uri": "'none'",
  "form-action": "'none'",
  "frame-ancestors": "'none'",
  "require-trusted-types-for": "'script'",
};
const HEADERS = {
  "Content-Security-Policy": Object.entries(POLICY)
    .map((entry) => entry.join(" "))
    .join("; "),
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Referrer-Policy": "no-referrer",
  "X-Content-Type-Options": "nosniff",
  "X-Frame-Options": "DENY",
};
const LINK_BYTES_MAX = 1_024;
const NOT_BUILT = "The console is not built: run npm run build, or set admin.console to off.\n";
const NO_LINK = "the link works once, for a minute, on the machine it was printed on: use the key instead";

/** Of routes that ask for no key. */
const WITHOUT_KEY = { config: { withoutKey: true } } as const;

export function serveConsole(app: FastifyInstance, { folder, link }: ConsoleOptions, serverHeader: string): void {
  const isThere = existsSync(join(folder, "index.html"));
  if (isThere) app.register(staticFiles, { root: folder, serve: false, preCompressed: true });

  const page = (reply: FastifyReply, path: string): FastifyReply => {
    reply.headers({ ...HEADERS, Server: serverHeader });
    if (!isThere) return reply.code(404).type("text/plain").send(NOT_BUILT);
    // Names of assets change with what they hold; every other path is one of the console's own pages.
    return /^assets\/[\w.-]+$/.test(path)
      ? reply.sendFile(path, { maxAge: "365d", immutable: true })
      : reply.header("Cache-Control", "no-cache").sendFile("index.html", { cacheControl: false });
  };
  app.get("/ui", WITHOUT_KEY, (_request, reply) => page(reply, ""));
  app.get<{ Params: { "*": string } }>("/ui/*", WITHOUT_KEY, (request, reply) => page(reply, request.params["*"]));
  app.post("/ui/link", WITHOUT_KEY, async (request, reply) => {
    reply.headers({ ...HEADERS, Server: serverHeader, "Cache-Control": "no-store" });
    const read = await readBody(request.raw, LINK_BYTES_MAX);
    const parsed = read.ok ? parseBody(read.bytes, true) : undefined;
    const given = parsed && "body" in parsed ? parsed.body?.value : undefined;
    const token = (given as { readonly token?: unknown } | undefined)?.token;
    const key = typeof token === "string" ? link?.redeem(token, request.raw.socket.remoteAddress ?? "") : undefined;
    return key === undefined ? reply.code(403).send({ error_msg: NO_LINK }) : reply.send({ key });
  });
}
