#!/bin/sh
# ensure-volumes.sh DIR UID:GID [DIR UID:GID …]: makes volumes with their owners. Each is
# made beside its place and renamed, so that it never exists with another owner. A mount
# point with nothing in it is given to the owner.
set -eu
while [ $# -gt 0 ]; do
	dir=$1 owner=$2
	shift 2
	if mountpoint -q -- "$dir"; then
		[ -n "$(find "$dir" -mindepth 1 -maxdepth 1 ! -name lost+found -print -quit)" ] || {
			chown "$owner" "$dir"
			chmod 0700 "$dir"
		}
		continue
	fi
	mkdir -p "$dir.new"
	chown "$owner" "$dir.new"
	chmod 0700 "$dir.new"
	mv -T "$dir.new" "$dir"
done
