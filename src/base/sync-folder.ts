/**
 * Makes the names in a folder durable: a renamed file is there after a power cut only when its folder was synced too.
 */
import { open } from "node:fs/promises";

/** Throws what the file system throws. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
