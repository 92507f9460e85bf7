#!/bin/sh
# rollback.sh PROGRAM: runs before every start of the daemon. A new daemon is on trial
# until it has served: while PROGRAM.trial exists, its starts are counted there. The
# third start without success puts PROGRAM.previous back. This is a shell script because
# a shell works whatever is wrong with the new daemon.
set -eu
program=$1
[ -e "$program.trial" ] || exit 0
read -r starts < "$program.trial" || starts=0
if [ "$starts" -lt 2 ]; then
	echo $((starts + 1)) > "$program.trial"
	exit 0
fi
# After a power cut right here, the previous daemon may be back already.
if [ -e "$program.previous" ]; then
	echo "the new daemon did not come up: the previous one returns"
	mv -f "$program.previous" "$program"
fi
rm -f "$program.trial"
