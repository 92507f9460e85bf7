#!/bin/sh
# ensure-volume.sh DIR UID:GID: makes a volume with its owner. It is made beside its
# place and renamed, so that it never exists with another owner. A mount point with nothing
# in it is given to the owner.
set -eu
if mountpoint -q -- "$1"; then
	[ -n "$(find "$1" -mindepth 1 -maxdepth 1 ! -name lost+found -print -quit)" ] || {
		chown "$2" "$1"
		chmod 0700 "$1"
	}
	exit 0
fi
mkdir -p "$1.new"
chown "$2" "$1.new"
chmod 0700 "$1.new"
mv -T "$1.new" "$1"
