#!/bin/sh
# kill.sh PID: kills a process of a container.
set -eu
kill -KILL "$1"
