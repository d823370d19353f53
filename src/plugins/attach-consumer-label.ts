/**
 * attach-consumer-label: labels of the consumer as headers for the upstream.
 * Promise: upstreams see under these names what the consumer's record says, or nothing. Source: APISIX 3.18 attach-consumer-label.
 */
import { Type } from "typebox";
import { isHeaderValue } from "../plugin/caller-identity.ts";
import { definePlugin } from "../plugin/plugin.ts";
import { headerError } from "./shared/header-operations.ts";

const schema = Type.Object({
  /** Header name → `$` and the name of a label. */
  headers: Type.Unsafe<Readonly<Record<string, string>>>({
    type: "object",
    minProperties: 1,
    additionalProperties: { type: "string", pattern: "^\\$.*" },
  }),
});

export const attachConsumerLabel = definePlugin({
  name: "attach-consumer-label",
  version: 0.1,
  priority: 2399,
  explain: "run",
  schema,
  check({ headers }) {
    for (const name of Object.keys(headers)) {
      const error = headerError(name, "");
      if (error !== undefined) return error;
    }
    return undefined;
  },
  compile(conf) {
    const edits = Object.entries(conf.headers).map(([name, label]) => ({
      name,
      lower: name.toLowerCase(),
      label: label.slice(1),
    }));
    return {
      beforeProxy({ consumer, headers }) {
        const labels = consumer?.labels ?? {};
        for (const { name, lower, label } of edits) {
          const value = Object.hasOwn(labels, label) ? labels[label] : undefined;
          if (value !== undefined && isHeaderValue(value)) headers.set(name, value, lower);
          else headers.remove(lower);
        }
      },
    };
  },
});
