/**
 * `GET /token_issuers/{id}/status`: the keys of an issuer as nodes have them, asked of each node's status listener now.
 * Promise: bounded time; a node that does not answer is one with a problem.
 */

import { keyOf } from "../../model/keys.ts";
import { KINDS } from "../../model/kinds.ts";
import type { TokenIssuer } from "../../model/token-issuer.ts";
import { fixedKeysOf } from "../../model/token-issuer-check.ts";
import { type IssuerStatus, shownKeys } from "../../token/issuer-facts.ts";
import type { AdminContext, AdminRequest } from "../admin-context.ts";
import { type AdminAnswer, refuse } from "../admin-response.ts";
import { askAll } from "../ask-node.ts";
import { readStored } from "../read/stored-record.ts";

/** The answer where no record has this id. */
export const NO_SUCH_ISSUER = "no such token issuer: GET /apisix/admin/token_issuers lists them";

interface Seen {
  readonly id: string;
  readonly facts: IssuerStatus | undefined;
  readonly problem: string | null;
}

export async function issuerStatus(admin: AdminContext, request: AdminRequest): Promise<AdminAnswer> {
  const id = request.params["id"] ?? "";
  const kind = KINDS.token_issuer;
  const stored = await readStored(admin.store, keyOf(admin.prefix, kind.name, id));
  if (!stored?.value) return refuse(404, NO_SUCH_ISSUER);
  const value = stored.value as unknown as TokenIssuer; // as far as it was written here
  const fixed = fixedKeysOf(value);
  if (typeof fixed === "object") {
    const source = value.jwks === undefined ? "public_key" : "jwks";
    return { status: 200, body: { ...shownKeys(fixed), fetched_at: null, source, by: null, nodes: [] } };
  }
  const seen = await askNodes(admin, id);
  const [newest] = seen
    .filter(({ facts }) => facts?.fetched_at != null)
    .sort((one, other) => (other.facts?.fetched_at ?? 0) - (one.facts?.fetched_at ?? 0));
  const { kids = [], skipped = [], fetched_at = null, source = null } = newest?.facts ?? {};
  const now = Math.floor(admin.clock.nowMs() / 1_000);
  const nodes = seen.map(({ id: node, facts, problem }) => ({
    id: node,
    age: facts?.fetched_at == null ? null : Math.max(0, now - facts.fetched_at),
    problem: facts?.problem ?? problem,
  }));
  return { status: 200, body: { kids, skipped, fetched_at, source, by: newest?.id ?? null, nodes } };
}

async function askNodes(admin: AdminContext, id: string): Promise<readonly Seen[]> {
  const answers = await askAll(admin, { path: `/issuers?id=${encodeURIComponent(id)}` });
  return answers.map(({ id: node, answer: { status, body } }): Seen => {
    const none = (problem: string): Seen => ({ id: node, facts: undefined, problem });
    // True: nodes say it so; what is no list has no first.
    const { list = [], error_msg: why } = (body ?? {}) as { list?: readonly IssuerStatus[]; error_msg?: string };
    const [facts] = list;
    if (status !== 200) return none(why ?? `it answers ${status}`);
    return facts ? { id: node, facts, problem: null } : none("it does not have the record yet");
  });
}
