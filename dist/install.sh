#!/bin/sh
# Installs Archipelago on this machine; see --help.
set -eu

usage() {
	cat <<'END'
Usage: sudo ./install.sh [--user NAME] [--dry-run]

Installs Archipelago on this machine, Debian 13 or newer, from the files of a release
beside this script. Run it again to install another release: what is in place already
stays as it is, and applications keep running.

  --user NAME   the unprivileged user whose applications these are (default: archipelago);
                it is created if it does not exist
  --dry-run     print what would be done, and do nothing; needs no root
  --help        this text

It installs the packages that rootless Podman needs; creates the user, with subordinate
ids and services that start at boot; creates /var/lib/archipelago; lets the user reboot
the machine; has boot wait for the network; installs the daemon with its user unit, and
archy in /usr/local/bin; and starts the daemon.
END
}

data=/var/lib/archipelago
packages="podman crun netavark aardvark-dns passt uidmap fuse-overlayfs nftables dbus-user-session libpam-systemd sudo ca-certificates"
user=archipelago
dry=
while [ $# -gt 0 ]; do
	case $1 in
	--user)
		[ $# -gt 1 ] || { echo "install.sh: --user needs a name; see --help" >&2; exit 2; }
		user=$2
		shift
		;;
	--dry-run) dry=1 ;;
	--help | -h) usage; exit ;;
	*) echo "install.sh: unknown argument $1; see --help" >&2; exit 2 ;;
	esac
	shift
done

here=$(cd "$(dirname "$0")" && pwd)
root=
[ -z "$dry" ] || root=${ARCHIPELAGO_ROOT:-} # tests have a dry run look at a directory instead of this machine

# First look for everything that stands in the way, and say it all at once.
problems=0
refuse() { echo "install.sh: $1" >&2; problems=$((problems + 1)); }

if [ -z "$dry" ] && [ "$(id -u)" != 0 ]; then
	refuse "this takes root: run it with sudo, or with --dry-run to see what it would do"
fi
os_field() { sed -n "s/^$1=\"\{0,1\}\([^\"]*\).*/\1/p" "$root/etc/os-release" 2>/dev/null; }
version=$(os_field VERSION_ID) || version=
case $(os_field ID):$version in
debian:[0-9]*)
	[ "${version%%.*}" -ge 13 ] || refuse "this is Debian $version, whose Podman is too old: upgrade to Debian 13"
	;;
*) refuse "this is not Debian 13 or newer: for other distributions, see 'Without the installer' in README.md" ;;
esac
[ -d "$root/run/systemd/system" ] || refuse "systemd does not run this machine: a container without an init system cannot be a node"
[ -e "$root/sys/fs/cgroup/cgroup.controllers" ] || refuse "cgroup v2 is not mounted at /sys/fs/cgroup: boot with systemd.unified_cgroup_hierarchy=1"
case $user in
root) refuse "applications never run as root: name an unprivileged user with --user" ;;
'' | [!a-z_]* | *[!a-z0-9_-]*) refuse "'$user' is not a user name: use lower-case letters, digits, dashes and underscores" ;;
*) [ "$(id -u "$user" 2>/dev/null)" != 0 ] || refuse "the user $user has id 0, and applications never run as root: name another with --user" ;;
esac
case $(uname -m) in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
*) arch= ; refuse "there is no release for $(uname -m), only for x86_64 and aarch64" ;;
esac
if [ -n "$arch" ]; then
	for file in "archipelago-linux-$arch" "archy-linux-$arch" archipelago.service archipelago-prober.service podman-service.conf rollback.sh; do
		if [ ! -r "$here/$file" ]; then
			refuse "$here/$file is missing: download all files of the release into one directory"
		elif [ ! -r "$here/SHA256SUMS" ]; then
			refuse "$here/SHA256SUMS is missing: download all files of the release into one directory"
		elif ! line=$(grep "^[0-9a-f]*  $file\$" "$here/SHA256SUMS"); then
			refuse "SHA256SUMS does not name $file: download all files of the same release"
		elif ! (cd "$here" && echo "$line" | sha256sum --check --status); then
			refuse "$here/$file is not the one in SHA256SUMS: download it again"
		fi
	done
fi
if [ $problems != 0 ]; then
	echo "install.sh: nothing was changed" >&2
	exit 1
fi

# run carries a command out; in a dry run it prints it instead.
run() { if [ -n "$dry" ]; then echo "  $*"; else "$@"; fi; }
step() { echo "$1"; }
as_user() { run runuser -u "$user" -- env "XDG_RUNTIME_DIR=/run/user/$uid" "$@"; }

# place SOURCE TARGET MODE OWNER: installs a file by rename, unless it is there already.
# Sets changed.
place() {
	if cmp -s "$1" "$root$2" && [ "$(stat -c %a:%U "$root$2")" = "${3#0}:$4" ]; then return; fi
	run install -m "$3" -o "$4" -g "$4" "$1" "$2.new"
	run mv -f "$2.new" "$2"
	changed=1
}

set -- # the packages that are missing
for package in $packages; do
	status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=
	[ "$status" = installed ] || set -- "$@" "$package"
done
if [ $# -gt 0 ]; then
	step "installing packages"
	run apt-get update -q
	run env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
fi

if ! id "$user" >/dev/null 2>&1; then
	step "creating the user $user"
	run useradd --create-home --shell /bin/bash --groups systemd-journal "$user"
fi
# A dry run knows no id or home of a user that it has not created.
uid=$(id -u "$user" 2>/dev/null) || uid=UID
home=$(getent passwd "$user" | cut -d: -f6)
home=${home:-/home/$user}

for kind in uid gid; do
	if ! grep -q "^$user:" "$root/etc/sub$kind" 2>/dev/null && { [ -z "$dry" ] || [ "$uid" != UID ]; }; then
		# After the last range that somebody has.
		first=$(awk -F: 'BEGIN { end = 100000 } $2 + $3 > end { end = $2 + $3 } END { print end }' "$root/etc/subuid" "$root/etc/subgid" 2>/dev/null) || first=100000
		step "giving $user subordinate ${kind}s"
		run usermod "--add-sub${kind}s" "$first-$((first + 65535))" "$user"
	fi
done

if [ ! -e "$root/var/lib/systemd/linger/$user" ]; then
	step "having the services of $user start at boot"
	run loginctl enable-linger "$user"
fi
if [ ! -d "$root$data" ]; then
	step "creating $data"
	run install -d -o "$user" -g "$user" -m 0711 "$data"
fi
if [ ! -e "$root/etc/systemd/system/multi-user.target.wants/network-online.target" ]; then
	step "having boot wait for the network, as Podman's units expect"
	run systemctl add-wants multi-user.target network-online.target
fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
echo "$user ALL=(root) NOPASSWD: /usr/bin/systemctl reboot" > "$tmp/sudoers"
if ! cmp -s "$tmp/sudoers" "$root/etc/sudoers.d/archipelago"; then
	step "letting $user reboot the machine"
	run visudo --check --quiet --file "$tmp/sudoers"
	run install -m 0440 "$tmp/sudoers" /etc/sudoers.d/archipelago
fi

step "installing the daemon and archy"
changed=
place "$here/archy-linux-$arch" /usr/local/bin/archy 0755 root
for dir in .local .local/bin .config .config/systemd .config/systemd/user .config/systemd/user/podman.service.d; do
	[ -d "$root$home/$dir" ] || run install -d -o "$user" -g "$user" "$home/$dir"
done
# An installation that was cut off before its restart has left this mark.
restart=$home/.config/systemd/user/archipelago.restart
changed=
if [ -e "$root$restart" ]; then changed=1; else run touch "$restart"; fi
place "$here/rollback.sh" "$home/.local/bin/archipelago.rollback" 0755 "$user"
place "$here/archipelago-linux-$arch" "$home/.local/bin/archipelago" 0755 "$user"
place "$here/archipelago.service" "$home/.config/systemd/user/archipelago.service" 0644 "$user"
place "$here/archipelago-prober.service" "$home/.config/systemd/user/archipelago-prober.service" 0644 "$user"
place "$here/podman-service.conf" "$home/.config/systemd/user/podman.service.d/archipelago.conf" 0644 "$user"

step "starting the daemon"
run systemctl start "user@$uid.service"
as_user systemctl --user daemon-reload
as_user systemctl --user enable --quiet --now podman.socket
as_user systemctl --user enable --quiet archipelago.service archipelago-prober.service
if [ -n "$changed" ]; then
	# A trial belongs to the program that it was begun for.
	run rm -f "$home/.local/bin/archipelago.trial"
	as_user systemctl --user stop podman.service
	as_user systemctl --user restart archipelago.service archipelago-prober.service
else
	as_user systemctl --user start archipelago.service archipelago-prober.service
fi
run rm -f "$restart"

if [ -n "$dry" ]; then
	echo "nothing was changed: this was a dry run"
	exit
fi
fingerprint=$(runuser -u "$user" -- "$home/.local/bin/archipelago" fingerprint)
cat <<END
Archipelago runs. To sign in on this machine and see what it finds:
  sudo cat $data/_daemon/state/token | archy login http://127.0.0.1:7070
  archy doctor
My Apps is at https://$(hostname):7443; https://$(hostname):7443/trust says how to end your
browser's warning. Browsers, and archy on other machines, know this node by its fingerprint:
  $fingerprint
END
