/**
 * The console's build: one page and its assets, named by what they hold. scripts/console.mjs says where to.
 */
import { defineConfig } from "vite";

export default defineConfig({
  root: import.meta.dirname,
  base: "/ui/",
  logLevel: "warn",
  build: {
    target: "es2023",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 1_000,
    rolldownOptions: {
      // "use client" of packages that also run on servers.
      onLog: (level, log, handle) => log.code !== "MODULE_LEVEL_DIRECTIVE" && handle(level, log),
    },
  },
  server: { proxy: { "/apisix": "http://127.0.0.1:9180", "/ui/link": "http://127.0.0.1:9180" } },
});
