/**
 * What a request of openid-connect carries, and what the upstream is told.
 * Promise: what a client sends under the names that only this plugin tells is removed, in every spelling, before anything
 * else; the one of them that may hold a token is looked at first.
 */
import type { Claims } from "../../base/jose/token.ts";
import type { Presented } from "../../plugin/judge/judge.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { compileRemoval } from "../shared/header-operations.ts";
import type { Conf } from "./openid-connect-conf.ts";

const HANDED_ON = ["X-Access-Token", "X-Userinfo", "X-ID-Token", "X-Refresh-Token", "X-Raw-ID-Token"];
const removeHandedOn = compileRemoval(HANDED_ON);
/** The values of X-Access-Token that the client sent. */
const SENT_NOTE = "openid_connect_x_access_token";

/** Takes away what the upstream would believe. */
export function distrust(view: RequestView): void {
  const sent = view.headers.getAll("x-access-token");
  if (sent.length > 0) view.setNote(SENT_NOTE, sent);
  removeHandedOn?.(view.headers);
}

/** The token: of Authorization if there is one, else of X-Access-Token. */
export function takeBearer(view: RequestView): Presented | "missing" | "ambiguous" {
  distrust(view);
  const lines = view.headers.getAll("authorization");
  const [value] = lines.length > 0 ? lines : ((view.note(SENT_NOTE) as readonly string[] | undefined) ?? []);
  const isRepeated =
    lines.length > 1 || (lines.length === 0 && (view.note(SENT_NOTE) as readonly string[])?.length > 1);
  if (isRepeated) return "ambiguous";
  if (value === undefined) return "missing";
  if (lines.length === 0) return { text: value, asProof: false, view };
  const scheme = /^([^ ]*) +/.exec(value);
  if (!scheme) return "ambiguous";
  switch (scheme[1]?.toLowerCase()) {
    case "bearer":
      return { text: value.slice(scheme[0].length), asProof: false, view };
    case "dpop":
      return { text: value.slice(scheme[0].length), asProof: true, view };
    default:
      return "missing";
  }
}

/** Value of X-Userinfo. */
export function userinfoOf(claims: Claims): string {
  return Buffer.from(JSON.stringify(claims), "utf8").toString("base64");
}

/** @returns tells the upstream who calls @param userinfo undefined where it is not told */
export function compileTell(conf: Conf): (view: RequestView, token: string, userinfo: string | undefined) => void {
  const { set_access_token_header: tellsToken, access_token_in_authorization_header: inAuthorization } = conf;
  return ({ headers }, token, userinfo) => {
    if (tellsToken) {
      if (inAuthorization) headers.set("Authorization", `Bearer ${token}`);
      else headers.append("X-Access-Token", token);
    }
    if (userinfo !== undefined) headers.append("X-Userinfo", userinfo);
  };
}
