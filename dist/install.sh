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
the commands archy and archipelago in /usr/local/bin; has the console say where My Apps
is; starts the daemon; and has it say what the node lacks. A new daemon that does not
serve is replaced by the one that was there.
END
}

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
	for file in "archipelago-linux-$arch" "archy-linux-$arch" archipelago.service archipelago-prober.service podman-service.conf scopes.conf rollback.sh archipelago.sh archipelago.issue node.sh; do
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
if [ $problems = 0 ]; then
	why=$(DRY_RUN=$dry sh "$here/node.sh" check "$user" 2>&1) || refuse "$why"
fi
if [ $problems != 0 ]; then
	echo "install.sh: nothing was changed" >&2
	exit 1
fi

# run carries a command out; in a dry run it prints it instead.
run() { if [ -n "$dry" ]; then echo "  $*"; else "$@"; fi; }
set -- # the packages that are missing
for package in $(sh "$here/node.sh" packages); do
	status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=
	[ "$status" = installed ] || set -- "$@" "$package"
done
if [ $# -gt 0 ]; then
	echo "installing packages"
	run apt-get update -q
	run env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
fi

if ! cmp -s "$here/archy-linux-$arch" "$root/usr/local/bin/archy"; then
	echo "installing archy"
	run install -m 0755 "$here/archy-linux-$arch" /usr/local/bin/archy.new
	run mv -f /usr/local/bin/archy.new /usr/local/bin/archy
fi
if ! cmp -s "$here/archipelago.sh" "$root/usr/local/bin/archipelago"; then
	echo "installing the command archipelago"
	run install -m 0755 "$here/archipelago.sh" /usr/local/bin/archipelago
fi
# agetty(8) fills in the address, and shows it above each sign-in. It says the same before and
# after the node has an owner, and never the code: a screen is seen by more people than may sign in.
if ! cmp -s "$here/archipelago.issue" "$root/etc/issue.d/archipelago.issue"; then
	echo "having the console say where My Apps is"
	run install -D -m 0644 "$here/archipelago.issue" /etc/issue.d/archipelago.issue
fi
DRY_RUN=$dry sh "$here/node.sh" install "$user" "$here/archipelago-linux-$arch" "$here"
[ -z "$dry" ] || echo "nothing was changed: this was a dry run"
