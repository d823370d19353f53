/**
 * Whether an upstream can be used, without making anything of it: the same readers that compile it, in the same order.
 */
import { messageOf } from "../../base/errors.ts";
import type { IpSet } from "../../base/net/ip.ts";
import { checkRule } from "./balance/balance-plan.ts";
import { readPassHost } from "./compiled-upstream.ts";
import { refuseDenied } from "./denied-addresses.ts";
import { readChecks } from "./health/health-conf.ts";
import { readScheme, readTargets } from "./target-list.ts";
import type { UpstreamRecord } from "./upstream-record.ts";
import { readTls } from "./upstream-settings.ts";

/**
 * @param record has passed the schema
 * @returns why requests could not be sent to it; undefined also where a certificate that it names may still come
 */
export function upstreamError(record: UpstreamRecord, denied: IpSet | undefined): string | undefined {
  try {
    const scheme = readScheme(record.scheme);
    readPassHost(record);
    if (record.tls?.client_cert_id === undefined) readTls(record.tls, scheme, () => "not asked here");
    readChecks(record);
    const targets = readTargets(record.nodes, scheme);
    refuseDenied(targets, denied);
    checkRule(record, targets.length);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}
