#!/bin/sh
# copy-volumes.sh RESERVE TO DIR...: makes TO a complete copy of the directories, each
# under its own name. Refuses if a full copy would leave less than RESERVE KiB free, and a
# DIR that is a symbolic link: its copy would be empty. An incomplete copy never bears the
# name TO. The lost+found of a file system that is mounted at DIR is none of its data.
set -eu
reserve=$1 to=$2
shift 2
for dir; do
	if [ -L "$dir" ]; then
		echo "the volume $dir is a symbolic link, of which a copy holds nothing; move what it leads to in its place, or mount that there" >&2
		exit 1
	fi
done
rm -rf --one-file-system -- "$to" "$to.new" "$to.old" "$to.swap"
mkdir "$to.new"
need=0
[ $# = 0 ] || need=$(du -skc -- "$@" | tail -n1 | cut -f1)
free=$(df -Pk -- "$to.new" | awk 'NR==2{print $4}')
if [ $((need + reserve)) -gt "$free" ]; then
	echo "the copy needs $((need / 1024)) MiB, which would leave less than $((reserve / 1024)) MiB of the $((free / 1024)) MiB that are free where $to is to be; make room on that disk, and try again" >&2
	rmdir "$to.new"
	exit 1
fi
for dir; do
	if mountpoint -q -- "$dir"; then
		copy=$to.new/${dir##*/}
		mkdir -- "$copy"
		find "$dir" -mindepth 1 -maxdepth 1 ! -name lost+found -exec cp -a --reflink=auto -t "$copy" -- {} +
		chown --reference="$dir" -- "$copy"
		chmod --reference="$dir" -- "$copy"
	else
		cp -a --reflink=auto -- "$dir" "$to.new/"
	fi
done
sync -f "$to.new"
mv -T -- "$to.new" "$to"
sync -f "$to"
