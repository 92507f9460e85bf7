#!/bin/sh
# exchange.sh FROM TO DIR...: has each volume DIR hold what the copy of its name in FROM holds,
# and makes a directory TO of what they held. Volumes and copies are moved, which takes no room,
# but for volumes of which TO.swap holds a copy already, as they cannot be moved: those are
# emptied and filled. A volume without a copy in FROM is moved to TO, or stays as it is where
# TO.swap has a copy. Run again after a power cut, it continues: TO.swap/.away says that all
# volumes are in TO.swap, and what has left FROM is in its place.
set -eu
from=$1 to=$2
shift 2
swap=$to.swap
refuse() {
	echo "$1" >&2
	exit 1
}
# same FILE FILE: a file is moved from where one is to where the other is, and not copied.
same() { [ "$(stat -c '%d %m' -- "$1")" = "$(stat -c '%d %m' -- "$2")" ]; }
if [ -d "$from" ]; then
	for dir; do
		[ ! -L "$dir" ] || refuse "the volume $dir is a symbolic link, and is not exchanged; move what it leads to in its place, or mount that there"
	done
	mkdir -p -- "$swap"
	if [ ! -e "$swap/.away" ]; then
		for dir; do
			name=${dir##*/}
			if [ ! -e "$dir" ] || [ -e "$swap/$name" ]; then continue; fi
			same "$dir" "$swap" || refuse "$dir is on another disk than $swap, which has no copy of it"
			mv -T -- "$dir" "$swap/$name"
		done
		sync -f "$swap"
		mkdir -- "$swap/.away"
		sync -f "$swap"
	fi
	for dir; do
		name=${dir##*/}
		[ -d "$from/$name" ] || continue
		if [ -d "$dir" ]; then
			[ -e "$swap/$name" ] || refuse "$dir holds data of which $swap has no copy; its disk was away when the volumes were put aside"
			find "$dir" -mindepth 1 -maxdepth 1 ! -name lost+found -exec rm -rf --one-file-system -- {} +
			cp -a --reflink=auto -- "$from/$name/." "$dir/"
			sync -f "$dir"
			mkdir -p -- "$from.old"
			rm -rf --one-file-system -- "${from:?}.old/$name"
			mv -T -- "$from/$name" "$from.old/$name" # whole until now: a cut begins this one again
			continue
		fi
		parent=${dir%/*}
		if [ ! -d "$parent" ] || ! same "$parent" "$from"; then
			refuse "$dir, where the volume was moved to, is not there; connect and mount its disk"
		fi
		mv -T -- "$from/$name" "$dir"
		sync -f "$dir"
	done
	rmdir -- "$from"
fi
if [ -d "$swap" ]; then
	[ ! -d "$swap/.away" ] || rmdir -- "$swap/.away"
	rm -rf --one-file-system -- "$to"
	mv -T -- "$swap" "$to"
	sync -f "$to"
fi
rm -rf --one-file-system -- "$from.old"
