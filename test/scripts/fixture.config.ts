/** Runs the fixtures of this folder, and nothing else. */
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: { include: ["test/scripts/*.fixture.ts", "test/scripts/no-such-export.fixture.mjs"], pool: "forks" },
});
