#!/bin/sh
# refill.sh COPY DIR OLD: has the volume DIR, which was moved, hold what COPY holds, and moves
# COPY into the directory OLD. Run again after a power cut, it continues: COPY is whole until
# DIR is.
set -eu
copy=$1 dir=$2 old=$3
[ -d "$copy" ] || exit 0
if [ -L "$dir" ] || [ ! -d "$dir" ]; then
	echo "$dir, where the volume was moved to, is not there; connect and mount its disk" >&2
	exit 1
fi
find "$dir" -mindepth 1 -maxdepth 1 ! -name lost+found -exec rm -rf --one-file-system -- {} +
cp -a --reflink=auto -- "$copy/." "$dir/"
sync -f "$dir"
mkdir -p -- "$old"
rm -rf --one-file-system -- "${old:?}/${copy##*/}"
mv -T -- "$copy" "$old/${copy##*/}"
