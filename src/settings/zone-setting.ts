/**
 * Zones of proxy-cache as an operator writes them: APISIX's members, sizes as `50m`, `1G` or `50MiB`.
 */
import { isMembers, type Members } from "../base/json/members.ts";
import { structured } from "./setting-kinds.ts";

type ZoneSetting = {
  readonly name: string;
  readonly memoryBytes: number;
  /** undefined: it is kept in memory. */
  readonly diskBytes: number | undefined;
  readonly diskPath: string | undefined;
};

const MEMBERS: ReadonlySet<string> = new Set(["name", "memory_size", "disk_size", "disk_path", "cache_levels"]);
const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$/;
const SIZE = /^(\d{1,12})(?:([kmg])(?:i?b)?)?$/i;
const UNITS: Readonly<Record<string, number>> = { "": 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };
const MEMORY_DEFAULT = 52_428_800;
const DISK_DEFAULT = 1_073_741_824;
const ZONES_MAX = 32;

export const cacheZones = structured(
  "a list of zones {name, memory_size} or {name, disk_size, disk_path}, sizes such as 50m or 1G",
  (value): readonly ZoneSetting[] | undefined => {
    if (!Array.isArray(value) || value.length > ZONES_MAX) return undefined;
    const zones = value.map((one: unknown) => (isMembers(one) ? readZone(one) : undefined));
    const names = new Set(zones.map((zone) => zone?.name));
    return zones.every((zone) => zone !== undefined) && names.size === zones.length ? zones : undefined;
  },
);

function readZone(zone: Members): ZoneSetting | undefined {
  const { name, disk_path: diskPath } = zone;
  if (typeof name !== "string" || !NAME.test(name) || Object.keys(zone).some((key) => !MEMBERS.has(key)))
    return undefined;
  if (diskPath !== undefined && (typeof diskPath !== "string" || diskPath === "")) return undefined;
  const memoryBytes = readSize(zone["memory_size"], MEMORY_DEFAULT);
  const isOnDisk = diskPath !== undefined || zone["disk_size"] !== undefined;
  const diskBytes = isOnDisk ? readSize(zone["disk_size"], DISK_DEFAULT) : undefined;
  if (memoryBytes === undefined || (isOnDisk && diskBytes === undefined)) return undefined;
  return { name, memoryBytes, diskBytes, diskPath };
}

function readSize(value: unknown, missing: number): number | undefined {
  if (value === undefined) return missing;
  const [, digits, unit = ""] = SIZE.exec(String(value)) ?? [];
  const bytes = Number(digits) * (UNITS[unit.toLowerCase()] ?? Number.NaN);
  return bytes > 0 && Number.isSafeInteger(bytes) ? bytes : undefined;
}
