/**
 * The store as it would be after a plan, for checks of several records that change together.
 * Promise: reads only; what is planned shows its new value under the revision it has now, so that conditions made from
 * it hold for the real store.
 */

import type { KeyRange, KeyValue, ListOptions, ListPage, Store } from "../../store/store.ts";
import { compareKeys, isInRange } from "../../store/store-limits.ts";
import type { Plan } from "../write/write-plan.ts";

export function overlayStore(store: Store, plan: Plan): Store {
  const planned = (key: string, kv: KeyValue | undefined): KeyValue | undefined => {
    const operation = plan.get(key);
    if (!operation) return kv;
    if (operation.op === "delete") return undefined;
    return { ...(kv ?? { ...NOTHING, key }), value: operation.value, lease: operation.lease ?? 0n };
  };

  async function* list(range: KeyRange, options?: ListOptions): AsyncGenerator<ListPage, void> {
    const added = plan.operations.filter((one) => one.op === "put" && isInRange(one.key, range));
    const fresh = new Map(added.map((one) => [one.key, one]));
    for await (const page of store.list(range, options)) {
      const kvs = page.kvs.flatMap((kv) => {
        fresh.delete(kv.key);
        return planned(kv.key, kv) ?? [];
      });
      if (!page.more) {
        // Order is only promised within what was there: who reads a plan's view looks for things, not at their order.
        for (const key of [...fresh.keys()].sort(compareKeys)) kvs.push(...[planned(key, undefined) ?? []].flat());
      }
      yield { ...page, kvs };
    }
  }

  return new Proxy(store, {
    get(target, name) {
      if (name === "get") {
        return async (key: string) => {
          const result = await target.get(key);
          return { ...result, kv: planned(key, result.kv) };
        };
      }
      if (name === "list") return list;
      if (name === "txn") throw new TypeError("a plan's view is not written to");
      const member: unknown = Reflect.get(target, name, target);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
}

const NOTHING: Omit<KeyValue, "key"> = {
  value: Buffer.alloc(0),
  createRevision: 0n,
  modRevision: 0n,
  version: 0n,
  lease: 0n,
};
