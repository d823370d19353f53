/**
 * `npm run docs:settings`: writes docs/settings.md from the schema of the settings. Runs under tsx.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { settingsPage } from "../src/cli/settings-page.ts";
import { ROOT } from "./project.mjs";

const file = join(ROOT, "docs/settings.md");
writeFileSync(file, `${settingsPage()}\n`);
console.log(`wrote ${file}`);
