#!/bin/sh
# delete-tree.sh DIR: deletes a directory, or a file. A mount point, DIR itself or directly in
# it, is emptied and stays, with its parent, as it was before anybody used it. Refuses a
# symbolic link: what it leads to would stay.
set -eu
mounted() { [ -d "$1" ] && [ ! -L "$1" ] && mountpoint -q -- "$1"; }
if [ -L "$1" ]; then
	echo "$1 is a symbolic link: what it leads to is not deleted; delete that, and remove the link" >&2
	exit 1
fi
kept=
for dir in "$1" "$1"/* "$1"/.[!.]*; do
	mounted "$dir" || continue
	find "$dir" -mindepth 1 -maxdepth 1 ! -name lost+found -exec rm -rf --one-file-system -- {} +
	chown 0:0 -- "$dir"
	kept=yes
done
if [ -z "$kept" ]; then
	exec rm -rf --one-file-system -- "$1"
fi
if mounted "$1"; then
	exit 0
fi
for dir in "$1"/* "$1"/.[!.]*; do
	mounted "$dir" || rm -rf --one-file-system -- "$dir"
done
