/**
 * What `jotgate help`, `jotgate help settings` and `jotgate version` print.
 */

import { readVersion } from "../settings/instance.ts";
import { flagOf, SETTING_ENTRIES } from "../settings/setting-names.ts";

export function helpText(): string {
  return `Jotgate ${readVersion()}: a JWT API gateway cluster that speaks Apache APISIX's Admin API.

Usage: jotgate <command> [--setting value ...]

  start          everything in one process: admin :9180, gateway :9080, status :9091;
                 data in ./data, no etcd needed
  admin          one admin node of a cluster; needs --etcd http://host:2379
  gateway        one gateway node of a cluster; needs --etcd http://host:2379
  check FILE     say whether a settings file is valid, and for which commands
  reload         let the running node of this data folder take its settings anew (docs/operations/reload.md)
  validate PATH  say whether files of configuration are valid (docs/operations/files.md)
  diff PATH      what apply would change; exit code 0 same, 2 differs, 1 wrong
  apply PATH     make an admin's records those of the files, wait until all nodes serve them
  dump PATH      write an admin's records to a file or folder
  backup FILE    all of a store, sealed: the embedded one (also running), or --etcd
  restore FILE   a backup into an empty embedded store or --etcd
  status         the cluster on one screen: nodes, lag, problems, traffic; exit code 0, 1 or 2
  explain URL    ask an admin what a node would do with a call, and why (docs/explain.md)
  token VERB     make, read, judge and end access tokens; \`jotgate help token\` (docs/tokens.md)
  version        print versions
  help           this text; \`jotgate help settings\` lists every setting

Settings come from flags, then from the environment, then from a YAML file (--config FILE):
  --gateway-listen 0.0.0.0:80  =  JOTGATE_GATEWAY_LISTEN=0.0.0.0:80  =  gateway: { listen: 0.0.0.0:80 }`;
}

export function settingsText(): string {
  const rows = SETTING_ENTRIES.map(({ path, facts }) => {
    const value = facts.defaultText === undefined ? `unset: ${facts.unset}` : facts.defaultText || "empty";
    const names = [path, ...facts.aliases].map((name) => `--${flagOf(name)}`).join(", ");
    return `${names}\n    ${facts.description.replaceAll("`", "")}\n    (${value})`;
  });
  return ["--config\n    YAML file with settings.\n    (unset: none)", ...rows].join("\n");
}

export function versionText(): string {
  const { node, llhttp, openssl, v8 } = process.versions;
  return [
    `jotgate ${readVersion()}`,
    `node ${node} (llhttp ${llhttp}, openssl ${openssl}, v8 ${v8})`,
    `${process.platform} ${process.arch}`,
  ].join("\n");
}
