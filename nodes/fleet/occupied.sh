#!/bin/bash
# Names the applications whose data is on a node that no gate has emptied before.
# $1 is the node's data directory, $2 the file that a gate leaves on a node that was
# empty when it first came.
[ -e "$2" ] && exit
cd "$1" || exit
for d in *; do
  case $d in
    _* | lost+found | '*') ;;
    *) echo "$d" ;;
  esac
done
ls _daemon/state/desired 2>/dev/null
true
