#!/bin/sh
# copy-volumes.sh RESERVE TO DIR...: makes TO a complete copy of the directories, each
# under its own name. Refuses if a full copy would leave less than RESERVE KiB free. An
# incomplete copy never bears the name TO.
set -eu
reserve=$1 to=$2
shift 2
rm -rf --one-file-system -- "$to" "$to.new" "$to.old"
mkdir "$to.new"
need=0
[ $# = 0 ] || need=$(du -skc -- "$@" | tail -n1 | cut -f1)
free=$(df -Pk -- "$to.new" | awk 'NR==2{print $4}')
if [ $((need + reserve)) -gt "$free" ]; then
	echo "the copy needs $((need / 1024)) MiB, which would leave less than $((reserve / 1024)) MiB of the $((free / 1024)) MiB that are free" >&2
	rmdir "$to.new"
	exit 1
fi
for dir; do
	cp -a --reflink=auto -- "$dir" "$to.new/"
done
sync -f "$to.new"
mv -T -- "$to.new" "$to"
sync -f "$to"
