#!/bin/bash
# Kills processes, each only while it is in the cgroup that it was seen in: its id may be
# another's by now. Arguments: a process and its cgroup, for each.
while [ $# -gt 1 ]; do
  if ! grep -qxF "0::$2" "/proc/$1/cgroup" 2>/dev/null; then
    echo "process $1 is not there any more" >&2
    exit 1
  fi
  kill -KILL "$1" || exit
  shift 2
done
