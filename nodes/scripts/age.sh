#!/bin/sh
# age.sh: prints the seconds since the kernel began, when PID 1 began, in clock ticks since
# then, and the clock ticks of a second (proc(5)).
set -eu
cut -d' ' -f1 /proc/uptime
sed 's/.*) //' /proc/1/stat | cut -d' ' -f20
getconf CLK_TCK 2>/dev/null || echo 100
