#!/bin/sh
# end-monitor.sh SESSION: ends the process that Podman left to watch a command in a
# container, which has ended. That there is none is well.
set -eu
pkill -KILL -f -- "^[^ ]*conmon .*-u $1( |\$)" || [ $? -eq 1 ]
