#!/bin/sh
# with-cgroup2.sh COMMAND...: runs a command with a cgroup2 mount at its usual place. It
# needs a mount namespace of its own.
set -eu
umount -R -l /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
exec "$@"
