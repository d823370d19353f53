#!/bin/sh
# Gives etcd its users and switches its authentication on: root, admin and gateway, each with what docs/cluster.md says.
#   users.sh FOLDER      holds the files etcd-root, etcd-admin and etcd-gateway, a password each
# Members and certificates come by etcdctl's own variables (ETCDCTL_ENDPOINTS, ETCDCTL_CACERT, ...). May run again: passwords
# and rights are then those of the files and of this page.
set -eu
folder=${1:?usage: users.sh FOLDER}
export ETCDCTL_API=3
root=$(cat "$folder/etcd-root")

if ! etcdctl user list >/dev/null 2>&1; then
  ETCDCTL_USER=root:$root
  export ETCDCTL_USER
  etcdctl user list >/dev/null || { echo "users.sh: etcd does not answer, or its root has another password than $folder/etcd-root" >&2; exit 1; }
fi

user() {
  if etcdctl user list | grep -qx "$1"; then
    etcdctl user passwd "$1" --interactive=false <"$folder/etcd-$1" >/dev/null
  else
    etcdctl user add "$1" --interactive=false <"$folder/etcd-$1" >/dev/null
  fi
  etcdctl role list | grep -qx "$2" || etcdctl role add "$2" >/dev/null
  etcdctl user grant-role "$1" "$2" >/dev/null 2>&1 || etcdctl user get "$1" | grep -q "$2"
}

user gateway gateway
etcdctl role grant-permission gateway --prefix=true read /apisix/ >/dev/null
etcdctl role grant-permission gateway --prefix=true readwrite /apisix-jotgate/nodes/ >/dev/null
etcdctl role grant-permission gateway --prefix=true readwrite /apisix-jotgate/acks/ >/dev/null
etcdctl role grant-permission gateway --prefix=true readwrite /apisix-jotgate/usage/in/ >/dev/null
etcdctl role grant-permission gateway read /apisix-jotgate/node-key >/dev/null
# Where clients revoke their tokens (RFC 7009), docs/cluster.md names one more, on token_revocations/;
# with assertion_replay: cluster another, on once/.
user admin admin
etcdctl role grant-permission admin --prefix=true readwrite /apisix >/dev/null
user root root
etcdctl auth enable >/dev/null 2>&1 || etcdctl user list >/dev/null
echo "users.sh: authentication is on; users $(ETCDCTL_USER="root:$root" etcdctl user list | tr '\n' ' ')"
