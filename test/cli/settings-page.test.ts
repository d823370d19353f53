import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { settingsText } from "../../src/cli/help.ts";
import { settingsPage } from "../../src/cli/settings-page.ts";
import { SETTING_ENTRIES } from "../../src/settings/setting-names.ts";

test("docs/settings.md is what the schema says (npm run docs:settings)", () => {
  const file = new URL("../../docs/settings.md", import.meta.url);
  expect(readFileSync(file, "utf8")).toBe(`${settingsPage()}\n`);
});

test("every setting is on the page and in the help", () => {
  for (const { path } of SETTING_ENTRIES) {
    expect(settingsPage()).toContain(`\`${path}\``);
    expect(settingsText()).toContain(`--${path.replace(/[._]/g, "-")}`);
  }
});
