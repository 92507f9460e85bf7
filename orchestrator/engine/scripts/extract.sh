#!/bin/sh
# extract.sh FILE DIR: unpacks a tar archive, which may come through a pipe, into a new
# directory in place of DIR. Owners are kept as the container sees them.
set -eu
rm -rf --one-file-system -- "$2"
mkdir -p -- "$2"
tar --numeric-owner --xattrs -C "$2" -xpf "$1"
sync -f "$2"
