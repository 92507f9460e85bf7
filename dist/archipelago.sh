#!/bin/sh
# The command archipelago of a node: the daemon's program, run as the user whose
# applications these are, whoever calls it. Root never runs what that user can write.
set -eu
data=/var/lib/archipelago
user=$(stat -c %U "$data" 2>/dev/null) || {
	echo "archipelago: there is no $data: this machine is no node yet; the installer or the package archipelago makes it one" >&2
	exit 1
}
home=$(getent passwd "$user" | cut -d: -f6)
set -- env "XDG_RUNTIME_DIR=/run/user/$(id -u "$user")" "$home/.local/bin/archipelago" "$@"
[ "$(id -un)" != "$user" ] || exec "$@"
exec sudo -H -u "$user" -- "$@"
