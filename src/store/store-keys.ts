/**
 * Names of the keys that are ours beside the records of a prefix P (default `/apisix`).
 * Inside `P/` only what every node must see in order; what is chatty lies under `P-jotgate/`, outside the watched range.
 */
import { type KeyRange, prefixRange } from "./store.ts";

export interface ControlKeys {
  /** [P/, P0): the records; what a node lists and watches. */
  readonly records: KeyRange;
  /** `P/jotgate/`: our own few keys inside the watched range; never records. */
  readonly control: string;
  /** {id, epoch}: which store this is. */
  readonly identity: string;
  /** {at}: rewritten every 10 s, so that readers see the watch move. */
  readonly beat: string;
  /** {nonce}: every node answers under `acks` once it has applied all before it. */
  readonly ask: string;
  /** `P-jotgate/nodes/`: the node registry, by lease. */
  readonly nodes: string;
  /** `P-jotgate/acks/` */
  readonly acks: string;
  /** `P-jotgate/`: everything chatty. */
  readonly outside: string;
}

/** @param prefix without a trailing slash, e.g. `/apisix` */
export function controlKeys(prefix: string): ControlKeys {
  const control = `${prefix}/jotgate/`;
  const outside = `${prefix}-jotgate/`;
  return {
    records: prefixRange(`${prefix}/`),
    control,
    identity: `${control}store`,
    beat: `${control}beat`,
    ask: `${control}ask`,
    nodes: `${outside}nodes/`,
    acks: `${outside}acks/`,
    outside,
  };
}
