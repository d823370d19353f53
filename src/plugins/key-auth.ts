/**
 * key-auth: the caller is who holds an API key, sent in a header or a query argument.
 * Promise: the key is looked up whole; a repeated or valueless argument is never a key.
 * Source: docs/spec/plugins.md section 4, APISIX 3.18.
 */
import { Type } from "typebox";
import { attachConsumer, openRefusals } from "../plugin/caller-identity.ts";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import type { Answer } from "../plugin/plugin-answer.ts";
import type { Credential } from "../plugin/plugin-consumer.ts";
import type { RequestView } from "../plugin/request-view.ts";
import { findArgument, removeArgument } from "../plugin/variables/query.ts";
import { AnonymousConsumer, Realm } from "./shared/schema-parts.ts";

const schema = Type.Object({
  header: Defaulted(Type.String({ default: "apikey" })),
  query: Defaulted(Type.String({ default: "apikey" })),
  realm: Realm("key"),
  hide_credentials: Defaulted(Type.Boolean({ default: false })),
  anonymous_consumer: AnonymousConsumer,
});

const consumerSchema = Type.Object({ key: Type.String() });

export const keyAuth = definePlugin({
  name: "key-auth",
  version: 0.1,
  priority: 2500,
  explain: "run",
  schema,
  credential: {
    schema: consumerSchema,
    keyAttribute: "key",
    encryptFields: ["key"],
    compile: () => undefined,
  },
  compile(conf, env) {
    const header = conf.header.toLowerCase();
    const table = env.credentials<undefined>("key-auth");
    const refusals = openRefusals(env, {
      challenge: `apikey realm="${conf.realm}"`,
      anonymousConsumer: conf.anonymous_consumer,
    });
    const missing = refusals.answer("Missing API key in request", "key_missing");
    const invalid = refusals.answer("Invalid API key in request", "key_invalid");

    const refuse = (view: RequestView, answer: Answer): Answer | undefined => {
      const final = refusals.authenticationFailed(view, answer);
      if (final === undefined && conf.hide_credentials) {
        view.headers.remove(header);
        view.query = removeArgument(view.query, conf.query);
      }
      return final;
    };
    const finish = (view: RequestView, fromHeader: boolean, found: Credential<undefined> | undefined) => {
      if (!found) return refuse(view, invalid);
      if (conf.hide_credentials) {
        if (fromHeader) view.headers.remove(header);
        else view.query = removeArgument(view.query, conf.query);
      }
      attachConsumer(view, found.consumer, found.credentialId, found);
      return undefined;
    };
    return {
      rewrite(view) {
        const sent = view.header(header);
        const argument = sent === undefined ? findArgument(view.query, conf.query) : undefined;
        if (sent === undefined && argument === undefined) return refuse(view, missing);
        if (argument && (argument.repeated || argument.valueless)) return refuse(view, invalid);
        const key = sent ?? argument?.value ?? "";
        const fromHeader = sent !== undefined;
        const found = table.get(key);
        const pending = found ? undefined : table.resolvePending();
        return pending === undefined
          ? finish(view, fromHeader, found)
          : pending.then(() => finish(view, fromHeader, table.get(key)));
      },
    };
  },
});
