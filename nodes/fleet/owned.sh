#!/bin/bash
# Names what on a node is an owner's: applications, or a daemon, that are there without a mark
# of the gate's. $1 is the node's data directory; the marks follow.
cd "$1" || exit
shift
for mark; do
  [ ! -e "$mark" ] || exit 0
done
for d in *; do
  case $d in
    _* | lost+found | '*') ;;
    *) echo "$d" ;;
  esac
done
ls _daemon/state/desired 2>/dev/null
[ ! -e _daemon/state/token ] || echo "its own daemon"
