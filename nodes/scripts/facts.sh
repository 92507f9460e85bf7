#!/bin/sh
# facts.sh DATADIR: prints what nodes.Check wants to know about a machine, a line each.
# What is missing prints an empty value.
user=$(id -un)
uid=$(id -u)
subordinate() { awk -F: -v name="$user" -v id="$uid" '$1 == name || $1 == id { n += $3 } END { print n + 0 }' "$1" 2>/dev/null; }

echo "uid=$uid"
if [ "$(loginctl show-user "$user" -p Linger --value 2>/dev/null)" = yes ] || [ -e "/var/lib/systemd/linger/$user" ]; then echo linger=yes; fi
echo "os=$(sed -n 's/^PRETTY_NAME="\{0,1\}\([^"]*\).*/\1/p' /etc/os-release)"
echo "host=$(uname -n)"
echo "kernel=$(uname -r)"
echo "podman=$(podman --version 2>/dev/null | sed 's/.* //')"
echo "systemd=$(systemctl --version 2>/dev/null | sed -n '1s/systemd \([0-9]*\).*/\1/p')"
for dir in /usr/lib/systemd/user-generators /usr/local/lib/systemd/user-generators /etc/systemd/user-generators; do
	[ ! -x "$dir/podman-user-generator" ] || echo "quadlet=$dir"
done
echo "subuid=$(subordinate /etc/subuid)"
echo "subgid=$(subordinate /etc/subgid)"
echo "cgroup=$(stat -f -c %T /sys/fs/cgroup)"
echo "controllers=$(cat "/sys/fs/cgroup/user.slice/user-$uid.slice/user@$uid.service/cgroup.controllers" 2>/dev/null)"
echo "online=$(systemctl is-active network-online.target)"
echo "runtime=${XDG_RUNTIME_DIR:-}"
mkdir -p "$1" 2>/dev/null
if [ -w "$1" ]; then echo data=writable; fi
echo "cpus=$(nproc)"
# Memory that is available, in bytes: the machine's, or less where its control group has a limit.
awk '/^MemAvailable:/ { printf "memory=%d\n", $2 * 1024 }' /proc/meminfo
if limit=$(cat /sys/fs/cgroup/memory.max 2>/dev/null) && [ "$limit" != max ]; then
	available=$(awk '/^MemAvailable:/ { printf "%d", $2 * 1024 }' /proc/meminfo)
	[ "$limit" -ge "$available" ] || echo "memory=$limit"
fi
echo "virt=$(systemd-detect-virt 2>/dev/null)"
if systemd-detect-virt --quiet --container 2>/dev/null; then echo container=yes; fi
