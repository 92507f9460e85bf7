#!/bin/sh
# extract.sh FILE DIR: unpacks a tar archive, which may come through a pipe, into a new
# directory in place of DIR. Owners are kept as the container sees them. Refuses a volume
# that is a symbolic link: a container would be given whatever of the node it leads to.
set -eu
rm -rf --one-file-system -- "$2"
mkdir -p -- "$2"
tar --numeric-owner --xattrs -C "$2" -xpf "$1"
for volume in "$2"/*; do
	if [ -L "$volume" ]; then
		echo "the volume ${volume##*/} is a symbolic link" >&2
		rm -rf --one-file-system -- "$2"
		exit 1
	fi
done
