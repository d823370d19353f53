/**
 * A disk as small as a test wants it: a tmpfs of its own, where mounting is allowed.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { temporaryFolder } from "./process.ts";

/** @returns why there can be none here; undefined where there can */
export function whyNoMount(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root, to mount a small tmpfs";
  const probe = temporaryFolder("mount");
  if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", probe]).status !== 0)
    return "mounting is not allowed here";
  spawnSync("umount", [probe]);
  return undefined;
}

/** @param size as mount takes it, such as `256k` */
export function mountSmallDisk(size: string): { readonly folder: string; unmount(): void } {
  const folder = temporaryFolder("small-disk");
  execFileSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", folder]);
  return { folder, unmount: () => void spawnSync("umount", ["-l", folder]) };
}

/** Takes all space that is left. */
export function fillDisk(file: string): void {
  writeFileSync(file, "");
  for (const bytes of [4_096, 1])
    try {
      for (;;) writeFileSync(file, Buffer.alloc(bytes), { flag: "a" });
    } catch {
      // full
    }
}
