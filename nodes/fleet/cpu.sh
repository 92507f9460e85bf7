#!/bin/bash
# What this user has used of CPUs since the boot, in microseconds: in the units of its
# manager, and in sessions.
used() {
  local slice=${CGROUPS:-/sys/fs/cgroup}/user.slice/user-$UID.slice
  awk -v manager="$slice/user@$UID.service/cpu.stat" '
    $1 == "usage_usec" { n[FILENAME == manager] = $2; seen++ }
    END { if (seen == 2) printf "used %d %d\n", n[1], (n[0] > n[1] ? n[0] - n[1] : 0); else print "unread cpu: the user'"'"'s use of CPUs is not accounted for on this node" }
  ' "$slice/cpu.stat" "$slice/user@$UID.service/cpu.stat" 2>/dev/null || echo "unread cpu: there is no control group of the user on this node"
}
