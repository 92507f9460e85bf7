#!/bin/sh
# put-files.sh DIR [NAME UID:GID MODE]...: gives each file NAME.new in DIR its owner and mode,
# and then its name. One that is there already, the same, stays: a container may have it.
set -eu
dir=$1
shift
while [ $# -gt 0 ]; do
	new=$dir/$1.new name=$dir/$1
	chown "$2" "$new"
	chmod "$3" "$new"
	if [ -f "$name" ] && [ "$(stat -c '%u:%g %a' "$new")" = "$(stat -c '%u:%g %a' "$name")" ] && cmp -s "$new" "$name"; then
		rm -- "$new"
	else
		mv -T -- "$new" "$name"
	fi
	shift 3
done
sync -f "$dir"
