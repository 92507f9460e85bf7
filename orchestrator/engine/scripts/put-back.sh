#!/bin/sh
# put-back.sh FROM HOME: moves the copies in FROM to the places of the directories of
# the same name in HOME, and deletes what they replace. A mount point is emptied and filled.
# Refuses a symbolic link. Run again after a power cut, it continues: what has left FROM is
# in its place.
set -eu
[ -d "$1" ] || exit 0
old=$1.old
for copy in "$1"/*; do
	if [ -L "$2/${copy##*/}" ]; then
		echo "$2/${copy##*/} is a symbolic link, and is not replaced by a copy; remove it" >&2
		exit 1
	fi
done
mkdir -p -- "$old" "$2"
for copy in "$1"/*; do
	[ -d "$copy" ] || continue
	name=${copy##*/}
	rm -rf --one-file-system -- "${old:?}/$name"
	if mountpoint -q -- "$2/$name"; then
		find "$2/$name" -mindepth 1 -maxdepth 1 ! -name lost+found -exec rm -rf --one-file-system -- {} +
		cp -a --reflink=auto -- "$copy/." "$2/$name/"
		sync -f "$2/$name"
		mv -T -- "$copy" "$old/$name" # whole until now: a cut begins this one again
		continue
	fi
	[ ! -e "$2/$name" ] || mv -T -- "$2/$name" "$old/$name"
	mv -T -- "$copy" "$2/$name"
done
sync -f "$2"
rm -rf --one-file-system -- "$1" "$old"
