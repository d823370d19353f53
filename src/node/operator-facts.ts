/**
 * What a node answers to admins that show their key: explanations and its last refusals.
 */
import type { Clock } from "../base/clock.ts";
import { NodeKeyCheck } from "../cluster/node-key.ts";
import { readExplainQuery } from "../model/explain-query.ts";
import type { Settings } from "../settings/settings.ts";
import type { OperatorSource } from "../status/operator-routes.ts";
import type { Store } from "../store/store.ts";
import { keyringOf } from "./node-parts.ts";
import type { Serving } from "./serving.ts";

interface OperatorInput {
  readonly id: string;
  readonly store: Store;
  readonly settings: Settings;
  readonly clock: Clock;
  readonly serving: () => Serving | undefined;
}

export function operatorFacts({ id, store, settings, clock, serving }: OperatorInput): OperatorSource {
  const keys = new NodeKeyCheck({ store, prefix: settings.prefix, keyring: keyringOf(settings), clock });
  return {
    admits: (key) => keys.admits(key),
    refusals: async (query) => (await serving()?.refusals(query)) ?? [],
    async explain(body) {
      const query = readExplainQuery(body);
      if (typeof query === "string") return query;
      const shown = await serving()?.explain(query);
      if (shown === undefined) return "explain: this node does not serve yet: ask again";
      return typeof shown === "string" ? `explain: ${shown.replace(/^explain: /, "")}` : { ...shown, node: id };
    },
  };
}
