/**
 * ldap-auth: the caller is who can bind to a directory with the user name and password that he sends (RFC 7617).
 * Promise: the user name is one value of a distinguished name whatever stands in it, an empty password is never asked about, and
 * a directory that is away lets nobody in. Source: APISIX 3.18 ldap-auth; RFC 4513, RFC 4514.
 */
import { type Static, Type } from "typebox";
import { messageOf } from "../../base/errors.ts";
import { openLimitedWarn } from "../../base/log.ts";
import { attachConsumer, openRefusals } from "../../plugin/caller-identity.ts";
import { Defaulted, definePlugin } from "../../plugin/plugin.ts";
import type { Answer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { readBasicCredentials } from "../shared/basic-credentials.ts";
import { confHash, Realm } from "../shared/schema-parts.ts";
import { LdapBinds, type LdapServer } from "./ldap-binds.ts";

const schema = Type.Object(
  {
    base_dn: Type.String(),
    ldap_uri: Type.String(),
    use_tls: Defaulted(Type.Boolean({ default: false })),
    tls_verify: Defaulted(Type.Boolean({ default: false })),
    uid: Defaulted(Type.String({ default: "cn" })),
    hide_credentials: Defaulted(Type.Boolean({ default: false })),
    realm: Realm("ldap"),
  },
  { title: "work with route or service object" },
);
type Conf = Static<typeof schema>;

const consumerSchema = Type.Object({ user_dn: Type.String() }, { title: "work with consumer object" });

export const ldapAuth = definePlugin({
  name: "ldap-auth",
  version: 0.1,
  priority: 2540,
  explain: { not: "it asks an LDAP server" },
  schema,
  credential: { schema: consumerSchema, keyAttribute: "user_dn", compile: () => undefined },
  check: (conf) => {
    if (serverOf(conf) === undefined) return 'property "ldap_uri" is no host:port, ldap:// or ldaps:// address';
    return /^[a-z][\w.-]*$/i.test(conf.uid) ? undefined : 'property "uid" is no attribute of a directory';
  },
  compile(conf, env) {
    const server = serverOf(conf) as LdapServer; // true: `check` has read it
    const held = env.states.hold(
      `ldap-auth:${confHash(server)}`,
      () => new LdapBinds(server, env.clock),
      (binds) => binds.close(),
    );
    const table = env.credentials<undefined>("ldap-auth");
    const refusals = openRefusals(env, { challenge: `Basic realm="${conf.realm}"`, anonymousConsumer: undefined });
    const missing = refusals.answer("Missing authorization in request", "authorization_missing");
    const malformed = refusals.answer("Invalid authorization in request", "authorization_malformed");
    const wrong = refusals.answer("Invalid user authorization", "user_or_password_wrong");
    const away = refusals.answer("Invalid user authorization", "ldap_unavailable");
    const warn = openLimitedWarn(env.log, env.clock);

    const judge = async (view: RequestView, dn: string, password: string): Promise<Answer | undefined> => {
      try {
        if (!(await held.state.check(dn, password))) return wrong;
      } catch (error) {
        warn(
          { plugin: "ldap-auth", error: messageOf(error) },
          "the LDAP server did not say whether a password is right",
        );
        return away;
      }
      if (!table.get(dn)) await table.resolvePending();
      const found = table.get(dn);
      if (!found) return wrong;
      if (conf.hide_credentials) view.headers.remove("authorization");
      attachConsumer(view, found.consumer, found.credentialId, found);
      return undefined;
    };
    return {
      rewrite(view) {
        const header = view.header("authorization");
        if (header === undefined) return missing;
        const sent = readBasicCredentials(header);
        if (!sent) return malformed;
        // Without a password the server would let in anybody, as nobody.
        if (sent.username === "" || sent.password === "") return wrong;
        return judge(view, `${conf.uid}=${escapeDnValue(sent.username)},${conf.base_dn}`, sent.password);
      },
      close: held.release,
    };
  },
});

/** Host and port without a scheme, as APISIX has it, or an address with one. */
function serverOf({ ldap_uri: uri, use_tls: useTls, tls_verify: verifyTls }: Conf): LdapServer | undefined {
  const text = /^ldaps?:\/\//i.test(uri) ? uri : `ldap://${uri}`;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || url.hostname === "" || url.username !== "" || url.password !== "" || url.search !== "") return undefined;
  if (url.pathname !== "" && url.pathname !== "/") return undefined;
  const scheme = useTls || url.protocol === "ldaps:" ? "ldaps" : "ldap";
  // APISIX takes 389 where no port is given, with TLS too.
  const port = url.port || (url.protocol === "ldaps:" ? "636" : "389");
  return { url: `${scheme}://${url.hostname}:${port}`, verifyTls };
}

/** One attribute value of a distinguished name (RFC 4514 section 2.4). */
function escapeDnValue(text: string): string {
  return text
    .replace(/[,+=<>;"\\]/g, "\\$&")
    .replaceAll("\0", "\\00")
    .replace(/^[ #]| $/g, "\\$&");
}
