#!/bin/sh
# put-back.sh FROM HOME: moves the copies in FROM to the places of the directories of
# the same name in HOME, and deletes what they replace. Run again after a power cut, it
# continues: what has left FROM is in its place.
set -eu
[ -d "$1" ] || exit 0
old=$1.old
mkdir -p -- "$old" "$2"
for copy in "$1"/*; do
	[ -d "$copy" ] || continue
	name=${copy##*/}
	if [ -e "$2/$name" ]; then
		rm -rf --one-file-system -- "${old:?}/$name"
		mv -T -- "$2/$name" "$old/$name"
	fi
	mv -T -- "$copy" "$2/$name"
done
sync -f "$2"
rm -rf --one-file-system -- "$1" "$old"
