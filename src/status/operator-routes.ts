/**
 * What a node's status listener answers to admins only: explanations and its last refusals.
 * Promise: without the key between admins and nodes these paths do not exist, whatever the method; a body is read only
 * behind the key, and bounded.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { refusalQuery } from "./control-server.ts";

export interface OperatorSource {
  /** Whether it is a key of the admins. Never rejects. */
  admits(key: unknown): Promise<boolean>;
  /** Body of the question; text: what is wrong with it. */
  explain(query: unknown): Promise<Readonly<Record<string, unknown>> | string>;
  refusals(query: object): Promise<readonly object[]>;
}

/** The header that carries the key. */
const NODE_KEY_HEADER = "x-jotgate-node-key";
const BODY_MAX = 262_144;

export function serveOperators(server: FastifyInstance, facts: OperatorSource): void {
  const onRequest = async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined> => {
    if (await facts.admits(request.headers[NODE_KEY_HEADER])) return undefined;
    return reply.code(404).header("connection", "close").send({ error_msg: "not found" });
  };

  server.get("/refusals", { onRequest }, async (request, reply) => {
    const query = refusalQuery(request.query);
    if (typeof query === "string") return reply.code(400).send({ error_msg: query });
    const list = await facts.refusals(query);
    return { list, total: list.length };
  });

  server.post("/explain", { onRequest }, async (request, reply) => {
    const body = await readBody(request);
    if (body === undefined) {
      const error_msg = `explain: the body must be JSON of at most ${BODY_MAX} bytes`;
      return reply.code(400).header("connection", "close").send({ error_msg });
    }
    const answer = await facts.explain(body);
    return typeof answer === "string" ? reply.code(400).send({ error_msg: answer }) : answer;
  });
}

/** @returns undefined for what is too long or no JSON object */
async function readBody({ raw }: FastifyRequest): Promise<object | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of raw) {
    const bytes = chunk as Buffer; // no encoding is set on the request
    size += bytes.length;
    if (size > BODY_MAX) return undefined;
    chunks.push(bytes);
  }
  try {
    const value: unknown = JSON.parse(Buffer.concat(chunks).toString("utf8"));
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
