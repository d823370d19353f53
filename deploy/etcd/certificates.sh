#!/bin/sh
# Makes what etcd's TLS needs: ca.crt, and etcd.crt with etcd.key for all members, as servers and as peers.
#   certificates.sh FOLDER NAME...      names and addresses of the members; localhost and 127.0.0.1 are added
# The authority's key is deleted as soon as it has signed: nobody can make another member by it. Does nothing while the
# certificate is good for a month and more; delete FOLDER/etcd.crt to have new ones, then start members and nodes anew.
set -eu
folder=${1:?usage: certificates.sh FOLDER NAME...}
shift
[ $# -gt 0 ] || { echo "certificates.sh: name the members, such as etcd1 etcd2 etcd3" >&2; exit 1; }
umask 077
mkdir -p "$folder"
if openssl x509 -checkend 2592000 -noout -in "$folder/etcd.crt" >/dev/null 2>&1; then
  echo "certificates.sh: those in $folder are good for a month and more"
  exit 0
fi

names="DNS:localhost,IP:127.0.0.1"
for name in "$@"; do
  case $name in
    *:* | *[0-9].[0-9]*.[0-9]*.[0-9]*) names="$names,IP:$name" ;;
    *) names="$names,DNS:$name" ;;
  esac
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
openssl ecparam -genkey -name prime256v1 -noout -out "$work/ca.key"
openssl req -x509 -new -key "$work/ca.key" -days 3650 -subj "/CN=jotgate etcd" -out "$work/ca.crt" \
  -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign"
openssl ecparam -genkey -name prime256v1 -noout -out "$work/etcd.key"
openssl req -new -key "$work/etcd.key" -subj "/CN=etcd" -out "$work/etcd.csr"
{
  echo "basicConstraints=CA:FALSE"
  echo "keyUsage=digitalSignature"
  echo "extendedKeyUsage=serverAuth,clientAuth"
  echo "subjectAltName=$names"
} >"$work/extensions"
openssl x509 -req -in "$work/etcd.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial -days 3650 \
  -extfile "$work/extensions" -out "$work/etcd.crt" 2>/dev/null
for file in ca.crt etcd.key etcd.crt; do mv "$work/$file" "$folder/$file"; done
chmod 644 "$folder/ca.crt" "$folder/etcd.crt"
echo "certificates.sh: made certificates for $names in $folder"
