/**
 * Consistent hashing: the same key goes to the same node; a retry walks on to the next different node.
 * Promise: the ring is that of all configured nodes; an unhealthy node is stepped over, so only its keys move.
 */

import { CodedError } from "../../../base/errors.ts";
import type { RequestView } from "../../../plugin/request-view.ts";
import { compileTemplate, isTemplate } from "../../../plugin/variables/template.ts";
import { compileVariable, type Variable } from "../../../plugin/variables/variables.ts";
import type { UpstreamRecord } from "../upstream-record.ts";
import type { BalancedNode, Balancer, Choice } from "./balancer.ts";
import type { Ring } from "./ring.ts";

type HashKey = (view: RequestView) => string;

export class ConsistentHash<N extends BalancedNode> implements Balancer<N> {
  readonly #ring: Ring;
  readonly #nodes: readonly (N | undefined)[];
  readonly #key: HashKey;

  /** @param nodes the ring's nodes in its order, undefined where one must not be used now */
  constructor(ring: Ring, nodes: readonly (N | undefined)[], key: HashKey) {
    this.#ring = ring;
    this.#nodes = nodes;
    this.#key = key;
  }

  pick(choice: Choice<N>): N | undefined {
    const ring = this.#ring;
    const start = choice.ringAt < 0 ? ring.find(this.#key(choice.view)) : choice.ringAt + 1;
    const size = ring.size; // known only after a find
    let at = start % size;
    for (let left = size; left > 0; left--) {
      const node = this.#nodes[ring.owner(at)];
      if (node && !choice.isTried(node)) {
        choice.ringAt = at;
        return node;
      }
      at = at + 1 === size ? 0 : at + 1;
    }
    return undefined;
  }
}

/**
 * Compiles `hash_on` and `key`; a request without the value hashes on the client's address.
 * @throws CodedError CONFIG_INVALID for an unknown hash_on or a missing key
 */
export function compileHashKey(record: Pick<UpstreamRecord, "hash_on" | "key">): HashKey {
  const read = compileReader(record.hash_on ?? "vars", record.key);
  return (view) => {
    const value = read(view);
    return value === undefined ? view.clientAddress : String(value);
  };
}

function compileReader(hashOn: string, key: string | undefined): Variable {
  if (hashOn === "consumer") return (view) => view.consumer?.username;
  if (key === undefined || key === "") throw invalid(`missing key for hash_on "${hashOn}"`);
  switch (hashOn) {
    case "vars":
      return compileVariable(key);
    case "header":
      return compileVariable(`http_${key}`);
    case "cookie":
      return compileVariable(`cookie_${key}`);
    case "vars_combinations":
      return compileCombination(key);
    default:
      throw invalid(`unknown hash_on "${hashOn}"`);
  }
}

/** A combination of which no variable has a value is no key. */
function compileCombination(key: string): Variable {
  if (!isTemplate(key)) return () => undefined;
  const template = compileTemplate(key);
  const variables = template.names.map((name) => compileVariable(name));
  const hasDefault = key.includes("??");
  return (view) => (hasDefault || variables.some((read) => read(view) !== undefined) ? template(view) : undefined);
}

function invalid(message: string): CodedError {
  return new CodedError("CONFIG_INVALID", { message });
}
