#!/bin/sh
# in-place.sh BESIDE BYTES FILES DIR...: says how many bytes of files the directories hold where
# a backup had better read them where they are than a copy in BESIDE: a copy would be no reflink,
# they hold BYTES or FILES at least, and their file systems give each change another ctime.
# Otherwise it says 0. Then it has all that was written through memory be on disk: the next such
# write changes the ctime, while one to memory that is not on disk yet would not.
set -eu
beside=$1 bytes=$2 files=$3
shift 3
no() {
	echo 0
	exit
}
[ $# -gt 0 ] || no
for dir; do
	if [ -L "$dir" ] || [ ! -d "$dir" ]; then no; fi # copy-volumes.sh says what is wrong
	# Others have no ctime, that of another machine, or none of what is written through memory.
	case $(stat -f -c %T -- "$dir") in
	ext2/ext3 | xfs | btrfs | f2fs) ;;
	*) no ;;
	esac
	# Whole seconds: small inodes of ext4. A file could change twice within one.
	case $(stat -c %z -- "$dir") in
	*.000000000*) no ;;
	esac
	# Of a mount point, lost+found stays behind; what is mounted below may be anything.
	while read -r _ _ _ _ at _; do
		case $at in "$dir" | "$dir"/*) no ;; esac
	done </proc/self/mountinfo
done
probe=$beside/.reflink
rm -f -- "$probe"
find "$@" -type f -size +0 \( -exec cp --reflink=always -T -- {} "$probe" \; -o -true \) -quit 2>/dev/null || true
cheap=
[ ! -s "$probe" ] || cheap=yes
rm -f -- "$probe"
[ -z "$cheap" ] || no
# Files vanish meanwhile: the application runs.
size=$(find "$@" -type f -printf '%s\n' 2>/dev/null |
	awk -v bytes="$bytes" -v files="$files" '{ b += $1 } END { if (b < bytes && NR < files) b = 0; printf "%.0f\n", b }')
[ "$size" != 0 ] || no
for dir; do sync -f -- "$dir"; done
echo "$size"
