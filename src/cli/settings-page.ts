/**
 * docs/settings.md, written from the schema so that it cannot be wrong.
 */
import { flagOf, SETTING_ENTRIES, SETTING_GROUPS, type SettingEntry, variableOf } from "../settings/setting-names.ts";

export function settingsPage(): string {
  const top = SETTING_ENTRIES.filter(({ path }) => !path.includes("."));
  const sections = SETTING_GROUPS.map(({ path, description }) => {
    const own = SETTING_ENTRIES.filter((entry) => entry.path.slice(0, entry.path.lastIndexOf(".")) === path);
    return `## ${path}\n\n${description}\n\n${table(own)}`;
  });
  return [INTRODUCTION, `## Top level\n\n${table(top)}`, ...sections].join("\n\n");
}

const INTRODUCTION = `# Settings

<!-- Written by \`npm run docs:settings\` from src/settings/settings-schema.ts; changes made here are lost. -->

Every setting has one path and three names. For \`gateway.tls.min_version\`:

| Where | How |
|---|---|
| flag | \`--gateway-tls-min-version TLSv1.3\` |
| environment | \`JOTGATE_GATEWAY_TLS_MIN_VERSION=TLSv1.3\` |
| YAML file, named by \`--config FILE\` or \`JOTGATE_CONFIG\` | \`gateway: { tls: { min_version: TLSv1.3 } }\` |

- A flag wins over the environment, the environment over the file, the file over the default.
- A name that is not on this page is an error: unknown flags, unknown \`JOTGATE_*\` variables, unknown members of the file
  (with their line). \`jotgate check FILE\` says whether a file is valid.
- Lists are YAML lists, text with commas, or a flag given several times. Durations have a unit (\`500ms\`, \`30s\`, \`2m\`, \`1h\`,
  \`1d\`), sizes may have one (\`16KiB\`, \`1MiB\`). Switches are \`on\` or \`off\`; \`--fast-lane\` and \`--no-fast-lane\` work too.
- An empty variable, and a member of the file without a value, count as not given. Variables that Kubernetes makes for a
  Service (\`JOTGATE_SERVICE_HOST\`, \`JOTGATE_PORT_9080_TCP\`, …) are known by their form and are no settings.
- Settings marked 🔒 are secrets: they appear in no message, and can be given as the path of a file that holds them:
  \`--admin-key-file\`, \`JOTGATE_ADMIN_KEY_FILE\`, \`admin: { key_file: … }\`. Prefer that to flags, which other users of the machine
  can see.
- Settings marked ↻ are taken by a running node on \`jotgate reload\` or SIGHUP ([reload](operations/reload.md)); those of \`admin.tls\` only from one
  file to another. All others wait for a restart.`;

function table(entries: readonly SettingEntry[]): string {
  return ["| Setting | Default | Meaning |", "|---|---|---|", ...entries.map(row)].join("\n");
}

function row({ path, facts }: SettingEntry): string {
  const names = [path, ...facts.aliases];
  const cell = [
    `\`${path}\`${facts.secret ? " 🔒" : ""}${facts.reload === "no" ? "" : " ↻"}`,
    ...names.map((name) => `\`--${flagOf(name)}\``),
    ...names.map((name) => `\`${variableOf(name)}\``),
  ].join("<br>");
  const value = facts.defaultText === undefined ? (facts.unset ?? "") : code(facts.defaultText);
  const wants = `${facts.kind.wants}${facts.switchable ? ", or off" : ""}`;
  return `| ${cell} | ${value} | ${facts.description}<br>*${wants}* |`;
}

function code(text: string): string {
  return text === "" ? "empty" : `\`${text.replaceAll("|", "\\|")}\``;
}
