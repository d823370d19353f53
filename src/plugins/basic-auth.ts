/**
 * basic-auth: the caller is who knows a consumer's user name and password (RFC 7617).
 * Promise: passwords are compared as digests in constant time, and an unknown user costs the same.
 * Source: docs/spec/plugins.md section 4, APISIX 3.18.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { Type } from "typebox";
import { attachConsumer, openRefusals } from "../plugin/caller-identity.ts";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import type { Credential } from "../plugin/plugin-consumer.ts";
import type { RequestView } from "../plugin/request-view.ts";
import { readBasicCredentials } from "./shared/basic-credentials.ts";
import { AnonymousConsumer, Realm } from "./shared/schema-parts.ts";

const schema = Type.Object(
  {
    hide_credentials: Defaulted(Type.Boolean({ default: false })),
    realm: Realm("basic"),
    anonymous_consumer: AnonymousConsumer,
  },
  { title: "work with route or service object" },
);

const consumerSchema = Type.Object(
  { username: Type.String(), password: Type.String() },
  { title: "work with consumer object" },
);

interface Password {
  readonly digest: Buffer;
}

interface Login {
  readonly username: string;
  /** Digests of what may be meant by the password, most exact first. */
  readonly digests: readonly Buffer[];
}

export const basicAuth = definePlugin({
  name: "basic-auth",
  version: 0.1,
  priority: 2520,
  explain: "run",
  schema,
  credential: {
    schema: consumerSchema,
    keyAttribute: "username",
    encryptFields: ["password"],
    compile: (conf): Password => ({ digest: digestOf(conf.password) }),
  },
  compile(conf, env) {
    const table = env.credentials<Password>("basic-auth");
    const strict = env.settings.compat === "strict";
    const refusals = openRefusals(env, {
      challenge: `Basic realm="${conf.realm}"`,
      anonymousConsumer: conf.anonymous_consumer,
    });
    const missing = refusals.answer("Missing authorization in request", "authorization_missing");
    const malformed = refusals.answer("Invalid authorization in request", "authorization_malformed");
    const wrong = refusals.answer("Invalid user authorization", "user_or_password_wrong");

    const finish = (view: RequestView, login: Login, found: Credential<Password> | undefined) => {
      const right = matches(found?.data.digest ?? NO_DIGEST, login.digests);
      if (!found || !right) return fail(view, wrong);
      if (conf.hide_credentials) view.headers.remove("authorization");
      attachConsumer(view, found.consumer, found.credentialId, found);
      return undefined;
    };
    const fail = (view: RequestView, answer: typeof missing) => {
      const final = refusals.authenticationFailed(view, answer);
      if (final === undefined && conf.hide_credentials) view.headers.remove("authorization");
      return final;
    };
    return {
      rewrite(view) {
        const header = view.header("authorization");
        if (header === undefined) return fail(view, missing);
        const login = readLogin(header, strict);
        if (!login) return fail(view, malformed);
        const found = table.get(login.username);
        const pending = found ? undefined : table.resolvePending();
        return pending === undefined
          ? finish(view, login, found)
          : pending.then(() => finish(view, login, table.get(login.username)));
      },
    };
  },
});

const NO_DIGEST = Buffer.alloc(32);

function readLogin(header: string, strict: boolean): Login | undefined {
  const sent = readBasicCredentials(header);
  if (!sent) return undefined;
  const { username, password } = sent;
  const digests = [digestOf(password)];
  // APISIX ends the password at a second colon and ignores white space; RFC 7617 does neither.
  const loose = (password.split(":")[0] ?? "").replace(/\s+/g, "");
  if (!strict && loose !== password) digests.push(digestOf(loose));
  return { username: strict ? username : username.replace(/\s+/g, ""), digests };
}

function matches(wanted: Buffer, given: readonly Buffer[]): boolean {
  let found = false;
  for (const digest of given) if (timingSafeEqual(digest, wanted)) found = true;
  return found;
}

function digestOf(password: string): Buffer {
  return createHash("sha256").update(password).digest();
}
