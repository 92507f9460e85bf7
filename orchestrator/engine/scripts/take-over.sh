#!/bin/sh
# take-over.sh RESERVE FROM TO UID:GID: copies what another container kept in FROM into
# the new volume TO, for its new owner. Does nothing if TO exists; refuses if the copy
# would leave less than RESERVE KiB free, or if TO is a symbolic link.
set -eu
reserve=$1 from=$2 to=$3 owner=$4
if [ -L "$to" ]; then
	echo "the volume $to is a symbolic link; remove it" >&2
	exit 1
fi
[ ! -e "$to" ] || exit 0
rm -rf --one-file-system -- "$to.new"
need=$(du -sk -- "$from" | cut -f1)
free=$(df -Pk -- "${to%/*}" | awk 'NR==2{print $4}')
if [ $((need + reserve)) -gt "$free" ]; then
	echo "the copy needs $((need / 1024)) MiB, which would leave less than $((reserve / 1024)) MiB of the $((free / 1024)) MiB that are free" >&2
	exit 1
fi
cp -a --reflink=auto -- "$from" "$to.new"
chown -R "$owner" "$to.new"
chmod 0700 "$to.new"
sync -f "$to.new"
mv -T -- "$to.new" "$to"
sync -f "$to"
