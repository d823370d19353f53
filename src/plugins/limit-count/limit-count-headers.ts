/**
 * The X-RateLimit-* headers of limit-count, whose names the plugin's metadata may change.
 * They go out with refused and accepted requests alike.
 */
import { Type } from "typebox";
import type { WindowUse } from "../../plugin/counters.ts";
import { Defaulted, type NodeEnv } from "../../plugin/plugin.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import type { ResponseView } from "../../plugin/response-view.ts";
import { isHeaderName } from "../shared/header-operations.ts";

const NAMES = {
  limit_header: "X-RateLimit-Limit",
  remaining_header: "X-RateLimit-Remaining",
  reset_header: "X-RateLimit-Reset",
} as const;

export const limitCountMetadata = Type.Object({
  limit_header: Defaulted(Type.String({ default: NAMES.limit_header })),
  remaining_header: Defaulted(Type.String({ default: NAMES.remaining_header })),
  reset_header: Defaulted(Type.String({ default: NAMES.reset_header })),
});

type Names = Readonly<Record<keyof typeof NAMES, string>>;

interface Quota {
  readonly prefix: string | undefined;
  readonly limit: number;
  readonly use: WindowUse;
}

interface QuotaHeaders {
  /** Remembers what a rule said, to be written with the response. */
  note(view: RequestView, prefix: string | undefined, limit: number, use: WindowUse): void;
  write(view: RequestView, response: ResponseView): void;
}

/** @param name one per limit, so that two of them do not mix up their notes */
export function compileQuotaHeaders(name: string, env: NodeEnv): QuotaHeaders {
  return {
    note(view, prefix, limit, use) {
      const quota: Quota = { prefix, limit, use };
      const before = view.note(name);
      if (Array.isArray(before)) before.push(quota);
      else view.setNote(name, [quota]);
    },
    write(view, response) {
      const quotas = view.note(name);
      if (!Array.isArray(quotas)) return;
      // True: metadata is checked against limitCountMetadata, with defaults filled.
      const names = (env.metadata("limit-count") as Names | undefined) ?? NAMES;
      for (const quota of quotas) writeQuota(quota as Quota, names, response);
    },
  };
}

function writeQuota({ prefix, limit, use }: Quota, names: Names, { headers }: ResponseView): void {
  const write = (base: string, value: number): void => {
    const name = prefixed(base, prefix);
    if (isHeaderName(name)) headers.set(name, String(value)); // the metadata may say anything
  };
  write(names.limit_header, limit);
  write(names.remaining_header, use.allowed ? use.remaining : 0);
  write(names.reset_header, Math.floor(use.resetMs / 10) / 100);
}

/** `X-RateLimit-Limit` of rule `1` is `X-1-RateLimit-Limit`. */
function prefixed(header: string, prefix: string | undefined): string {
  return prefix === undefined ? header : header.replace("RateLimit-", `${prefix}-RateLimit-`);
}
