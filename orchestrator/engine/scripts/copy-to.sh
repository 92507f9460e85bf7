#!/bin/sh
# copy-to.sh RESERVE FROM TO: makes TO, which is not there yet, a complete copy of the volume
# FROM. Makes the directory of TO, if need be in one that is there. Refuses a file system that
# does not keep owners and modes, or whose content is gone with the next boot, and a copy that
# would leave less than RESERVE KiB free. An incomplete copy never bears the name TO, only
# TO.new.
set -eu
reserve=$1 from=$2 to=$3
parent=${to%/*}
refuse() {
	echo "$1" >&2
	rm -rf --one-file-system -- "$to.new"
	exit 1
}
if [ -L "$from" ] || [ ! -d "$from" ]; then
	refuse "$from is no directory"
fi
if [ -e "$to" ] || [ -L "$to" ]; then
	refuse "$to is there already; move it away"
fi
[ -d "$parent" ] || mkdir -m 0711 -- "$parent"
kind=$(stat -f -c %T -- "$parent")
case $kind in
tmpfs | ramfs) refuse "$parent is in memory ($kind): what is there is gone with the next boot" ;;
esac
rm -rf --one-file-system -- "$to.new"
mkdir -- "$to.new"
chown 1:1 -- "$to.new" 2>/dev/null || true
chmod 0750 -- "$to.new" 2>/dev/null || true
if [ "$(stat -c '%u:%g %a' -- "$to.new")" != "1:1 750" ]; then
	refuse "the file system of $parent ($kind) does not keep owners and modes of files; expected one such as ext4, xfs or btrfs"
fi
chown 0:0 -- "$to.new"
need=$(du -sk -- "$from" | cut -f1)
free=$(df -Pk -- "$to.new" | awk 'NR==2{print $4}')
if [ $((need + reserve)) -gt "$free" ]; then
	refuse "the copy needs $((need / 1024)) MiB, which would leave less than $((reserve / 1024)) MiB of the $((free / 1024)) MiB that are free"
fi
find "$from" -mindepth 1 -maxdepth 1 ! -name lost+found -exec cp -a --reflink=auto -t "$to.new" -- {} +
chown --reference="$from" -- "$to.new"
chmod --reference="$from" -- "$to.new"
sync -f "$to.new"
mv -T -- "$to.new" "$to"
sync -f "$parent"
