#!/bin/sh
# ensure-volume.sh DIR UID:GID: makes a volume with its owner. It is made beside its
# place and renamed, so that it never exists with another owner.
set -eu
mkdir -p "$1.new"
chown "$2" "$1.new"
chmod 0700 "$1.new"
mv -T "$1.new" "$1"
