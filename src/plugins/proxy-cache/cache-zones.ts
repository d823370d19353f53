/**
 * Zones of the settings, opened when a configuration first names them, and what they hold in common while responses are collected.
 */
import type { CacheZone, NodeEnv } from "../../plugin/plugin.ts";
import type { CacheStore } from "./cache-store.ts";
import { DiskStore } from "./disk-store.ts";
import { MemoryStore } from "./memory-store.ts";

const DEFAULT_ZONES: readonly CacheZone[] = [{ name: "memory_cache", memoryBytes: 52_428_800, disk: undefined }];
const DISK_TTL_MS = 10_000;

export function zonesOf({ settings }: NodeEnv): readonly CacheZone[] {
  return settings.cache?.zones ?? DEFAULT_ZONES;
}

export function diskTtlMs({ settings }: NodeEnv): number {
  return settings.cache?.ttlMs ?? DISK_TTL_MS;
}

/** Why a configuration cannot use its zone, in APISIX's words. */
export function zoneError(
  zones: readonly CacheZone[],
  { cache_strategy: strategy, cache_zone: name }: { readonly cache_strategy: string; readonly cache_zone: string },
): string | undefined {
  const zone = zones.find((one) => one.name === name);
  if (zone === undefined) return `cache_zone ${name} not found`;
  const isFitting = (zone.disk !== undefined) === (strategy === "disk");
  return isFitting ? undefined : `invalid or empty cache_zone for cache_strategy: ${strategy}`;
}

export function holdZone(zone: CacheZone, env: NodeEnv): { readonly state: CacheStore; release(): void } {
  const { disk } = zone;
  if (disk === undefined) return env.states.hold(`cache zone:${zone.name}`, () => new MemoryStore(zone.memoryBytes));
  return env.states.hold(
    `cache zone:${zone.name}`,
    () => new DiskStore(disk.path, disk.bytes, env),
    (store) => store.close(),
  );
}
