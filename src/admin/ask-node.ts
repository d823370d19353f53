/**
 * Asks gateway nodes what only they know, by their status listeners and with the key between admins and nodes.
 * Promise: bounded in time and bytes; nothing of the caller goes along but the question; what fails is told with its cure.
 */
import { messageOf } from "../base/errors.ts";
import { Limiter } from "../base/limiter.ts";
import type { NodeKeyring } from "../cluster/node-key.ts";
import { listNodes, type RegisteredNode, readNode } from "../cluster/registry.ts";
import type { StoreSide } from "./admin-context.ts";
import { type AdminAnswer, refuse } from "./admin-response.ts";

const NODE_MS = 6_000;
const ANSWER_MAX = 4_194_304;
/** Of all nodes. */
const ASKED_AT_ONCE = 64;
/** Nodes that are tried one after the other where any may answer. */
const TRIED_MAX = 3;
const UNSPECIFIED = new Set(["0.0.0.0", "[::]", ""]);

/** What asking takes: where nodes are registered, and the key that they know admins by. */
export type AskSide = Omit<StoreSide, "clock"> & { readonly nodeKey: NodeKeyring };

interface Question {
  /** With its query. */
  readonly path: string;
  /** Sent as JSON by POST; absent: GET. */
  readonly body?: object;
  /** The answer is no JSON: its text, and how long it may be. */
  readonly textMax?: number;
}

/** @returns undefined for what is no `host:port` of one machine */
export function statusUrl(address: string, path: string): URL | undefined {
  if (!/^[^/?#@\\\s]+:\d{1,5}$/.test(address) || !URL.canParse(`http://${address}`)) return undefined;
  const url = new URL(path, `http://${address}`);
  return UNSPECIFIED.has(url.hostname) ? undefined : url;
}

/** One node by its id. */
export async function askNode(admin: AskSide, id: string, question: Question): Promise<AdminAnswer> {
  const node = await readNode(admin.store, admin.prefix, id);
  if (!node) return refuse(404, `no node ${id.slice(0, 64)} is registered: GET /apisix/admin/nodes lists them`);
  return ask(admin, node, question);
}

/** The first of some nodes that answers. */
export async function askAny(admin: AskSide, question: Question): Promise<AdminAnswer> {
  const { nodes } = await listNodes(admin.store, admin.prefix);
  if (nodes.length === 0)
    return refuse(503, "no gateway node is registered: start one, it is the nodes that answer this");
  const first = Math.floor(Math.random() * nodes.length);
  let answer = refuse(502, "no node answers");
  for (const node of [...nodes.slice(first), ...nodes.slice(0, first)].slice(0, TRIED_MAX)) {
    answer = await ask(admin, node, question);
    if (answer.status < 500) return answer;
  }
  return answer;
}

export interface Told<Used> {
  /** Of the node. */
  readonly id: string;
  readonly answer: Used;
}

/**
 * All nodes, a bounded number at the same time.
 * @param use what is kept of an answer, so that long ones of many nodes are not held together
 */
export async function askAll(admin: AskSide, question: Question): Promise<readonly Told<AdminAnswer>[]>;
export async function askAll<Used>(
  admin: AskSide,
  question: Question,
  use: (answer: AdminAnswer) => Used,
): Promise<readonly Told<Used>[]>;
export async function askAll(
  admin: AskSide,
  question: Question,
  use: (answer: AdminAnswer) => unknown = (answer) => answer,
): Promise<readonly Told<unknown>[]> {
  const { nodes } = await listNodes(admin.store, admin.prefix);
  const limiter = new Limiter(ASKED_AT_ONCE);
  return Promise.all(
    nodes.map(async (node) => ({
      id: node.id,
      answer: await limiter.run(async () => use(await ask(admin, node, question))),
    })),
  );
}

async function ask(
  admin: AskSide,
  { id, address }: RegisteredNode,
  { path, body, textMax }: Question,
): Promise<AdminAnswer> {
  const url = statusUrl(address, path);
  if (!url)
    return refuse(
      502,
      `node ${id} registered ${address || "no address"}: set status.advertise on it to where the admin reaches it`,
    );
  try {
    const key = await admin.nodeKey.current().catch((error: unknown) => refuse(503, messageOf(error)));
    if (typeof key !== "string") return key;
    const response = await fetch(url, {
      method: body ? "POST" : "GET",
      headers: { "x-jotgate-node-key": key, "content-type": "application/json" },
      ...(body && { body: JSON.stringify(body) }),
      redirect: "error",
      signal: AbortSignal.timeout(NODE_MS),
    });
    if (response.status === 404) {
      await response.body?.cancel();
      return refuse(502, `node ${id} does not take the key of the admins: ${CURE(admin.prefix)}`);
    }
    const text = await readText(response, textMax ?? ANSWER_MAX);
    return { status: response.status, body: textMax === undefined ? (JSON.parse(text) as object) : text };
  } catch (error) {
    const late = (error as { readonly name?: unknown }).name === "TimeoutError";
    admin.log.warn({ asked: id, error: messageOf(error) }, "a node did not answer");
    if (late) return refuse(504, `node ${id} did not answer within ${NODE_MS} ms`);
    return refuse(502, `node ${id} cannot be reached at ${address}`);
  }
}

const CURE = (prefix: string): string =>
  `it must run this version, have the same encryption.keyring and may read ${prefix}-jotgate/node-key in etcd`;

async function readText(response: Response, max: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  if (response.body) {
    for await (const chunk of response.body) {
      size += chunk.length;
      if (size > max) throw new Error("the answer is too long");
      chunks.push(chunk);
    }
  }
  return Buffer.concat(chunks).toString("utf8");
}
