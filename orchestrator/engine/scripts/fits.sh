#!/bin/sh
# fits.sh RESERVE FROM DIR...: refuses if a volume DIR cannot be emptied and filled with the copy
# of its name in FROM, one DIR after the other, and leave RESERVE KiB free on its disk. What takes
# no more than is there now always can.
set -eu
reserve=$1 from=$2
shift 2
sizes=$(
	for dir; do
		copy=$from/${dir##*/}
		[ -d "$copy" ] || continue
		need=$(du -sk -- "$copy" | cut -f1)
		has=$(du -skx -- "$dir" | cut -f1)
		free=$(df -Pk -- "$dir" | awk 'NR==2{print $4}')
		echo "$(stat -c %d -- "$dir") $((need - has)) $free $dir"
	done
)
full=$(echo "$sizes" | awk -v reserve="$reserve" '
	NF && (more[$1] += $2) > 0 && more[$1] + reserve > $3 {
		dir = substr($0, index($0, "/"))
		printf "the volume %s needs %d MiB more on its disk, which would leave less than %d MiB of the %d MiB that are free there; make room on that disk, and try again", dir, (more[$1] + 1023) / 1024, reserve / 1024, $3 / 1024
		exit
	}')
[ -z "$full" ] || { echo "$full" >&2; exit 1; }
