#!/bin/sh
# node.sh: what makes a Debian machine a node. The installer of a release, the package
# archipelago and the image of the lab's nodes all run this, so it is said once.
#
#   node.sh packages                  print the packages of Debian that a node needs
#   node.sh check USER                say what stands in the way of this user's applications
#   node.sh prepare USER              create the user, and give it what only root can give
#   node.sh install USER PROGRAM DIR  prepare, install the daemon's program with the units
#                                     and the script in DIR, start it, and look at the node
#   node.sh remove USER               stop the daemon and remove it; applications run on
#
# All of it, run again, leaves what is in place as it is. With DRY_RUN=1 it prints what it
# would do, and looks at the directory ARCHIPELAGO_ROOT instead of this machine.
# KEEP_DAEMON=1 leaves a daemon's program that is there as it is.
set -eu

data=/var/lib/archipelago
dry=${DRY_RUN:-}
root=
[ -z "$dry" ] || root=${ARCHIPELAGO_ROOT:-}

# run carries a command out; in a dry run it prints it instead.
run() { if [ -n "$dry" ]; then echo "  $*"; else "$@"; fi; }
step() { echo "$1"; }
as_user() { run runuser -u "$user" -- env "HOME=$home" "XDG_RUNTIME_DIR=/run/user/$uid" "$@"; }
booted() { [ -d "$root/run/systemd/system" ]; } # not so in a container's image that is being built

# put SOURCE TARGET MODE: writes a file of the user's. The user does it: in its directories,
# a link of its own making would lead root anywhere.
put() {
	as_user rm -f "$2"
	as_user dd status=none "of=$2" <"$1"
	as_user chmod "$3" "$2"
}

# place SOURCE TARGET MODE: puts a file there by rename, unless it is there already. Sets
# changed.
place() {
	if [ -f "$root$2" ] && cmp -s "$1" "$root$2" && [ "$(stat -c %a:%U "$root$2")" = "${3#0}:$user" ]; then return; fi
	put "$1" "$2.new" "$3"
	as_user mv -f "$2.new" "$2"
	changed=1
}

packages() {
	echo systemd podman crun netavark aardvark-dns passt uidmap fuse-overlayfs nftables \
		dbus-user-session libpam-systemd sudo ca-certificates restic openssh-client
}

# about finds the user's id and home. A dry run knows none of a user that it has not created.
about() {
	uid=$(id -u "$user" 2>/dev/null) || uid=UID
	home=$(getent passwd "$user" | cut -d: -f6)
	home=${home:-/home/$user}
	units=$home/.config/systemd/user
	program=$home/.local/bin/archipelago
}

check() {
	owner=$(stat -c %a:%U "$root$data" 2>/dev/null) || owner=:$user
	if [ "${owner#*:}" != "$user" ]; then
		echo "$data belongs to ${owner#*:}, whose applications are on this node, and not to $user: install.sh of the release, with --user ${owner#*:}, keeps them" >&2
		return 1
	fi
}

prepare() {
	check
	if ! id "$user" >/dev/null 2>&1; then
		step "creating the user $user"
		# By this comment, a purge of the package knows whose user it is.
		run useradd --create-home --shell /bin/bash --groups systemd-journal --comment Archipelago "$user"
	fi
	about
	for kind in uid gid; do
		if ! grep -q "^$user:" "$root/etc/sub$kind" 2>/dev/null && { [ -z "$dry" ] || [ "$uid" != UID ]; }; then
			# After the last range that somebody has.
			first=$(cat "$root/etc/subuid" "$root/etc/subgid" 2>/dev/null | awk -F: 'BEGIN { end = 100000 } $2 + $3 > end { end = $2 + $3 } END { print end }')
			step "giving $user subordinate ${kind}s"
			run usermod "--add-sub${kind}s" "$first-$((first + 65535))" "$user"
		fi
	done
	if [ ! -e "$root/var/lib/systemd/linger/$user" ]; then
		step "having the services of $user start at boot"
		if booted; then
			run loginctl enable-linger "$user"
		else
			run install -D -m 0644 /dev/null "/var/lib/systemd/linger/$user"
		fi
	fi
	if [ ! -d "$root$data" ]; then
		step "creating $data"
		run install -d -o "$user" -g "$user" -m 0711 "$data"
	fi
	if [ ! -e "$root/etc/systemd/system/multi-user.target.wants/network-online.target" ]; then
		step "having boot wait for the network, as Podman's units expect"
		run systemctl add-wants multi-user.target network-online.target
		# And now: until it is reached, Podman's units wait for it, 90 seconds long.
		if booted; then run systemctl start --no-block network-online.target; fi
	fi
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	watchers=/proc/sys/fs/inotify/max_user_instances sysctl=/etc/sysctl.d/60-archipelago.conf
	if [ ! -e "$root$sysctl" ] && [ "$(cat "$root$watchers" 2>/dev/null || echo 0)" -lt 1024 ]; then
		step "letting applications watch files: all of a user's share one limit"
		cat >"$tmp/sysctl" <<-'END'
			# All applications of a node are one user's, who may have 128 watchers of files by default.
			-fs.inotify.max_user_instances = 1024
		END
		run install -D -m 0644 "$tmp/sysctl" "$sysctl"
		if booted; then run /usr/lib/systemd/systemd-sysctl "$sysctl"; fi
	fi
	echo "$user ALL=(root) NOPASSWD: /usr/bin/systemctl reboot" >"$tmp/sudoers"
	if ! cmp -s "$tmp/sudoers" "$root/etc/sudoers.d/archipelago"; then
		step "letting $user reboot the machine"
		run visudo --check --quiet --file "$tmp/sudoers"
		run install -m 0440 "$tmp/sudoers" /etc/sudoers.d/archipelago
	fi
}

# scopes names the directories of drop-ins for what serves all containers.
scopes() {
	for unit in podman-pause-.scope rootless-netns-.scope run-.scope app.slice user.slice; do echo "$units/$unit.d"; done
}

# install_daemon PROGRAM DIR
install_daemon() {
	step "installing the daemon"
	for dir in "$home/.local/bin" "$units/podman.service.d" $(scopes); do
		[ -d "$root$dir" ] || as_user mkdir -p "$dir"
	done
	# An installation that was cut off before its restart has left this mark.
	restart=$units/archipelago.restart
	changed=
	if [ -e "$root$restart" ]; then changed=1; else as_user touch "$restart"; fi
	place "$2/rollback.sh" "$program.rollback" 0755
	place "$2/archipelago.service" "$units/archipelago.service" 0644
	place "$2/archipelago-prober.service" "$units/archipelago-prober.service" 0644
	place "$2/podman-service.conf" "$units/podman.service.d/archipelago.conf" 0644
	for dir in $(scopes); do place "$2/scopes.conf" "$dir/archipelago.conf" 0644; done
	trial=
	if [ ! -e "$root$program" ]; then
		place "$1" "$program" 0755
	elif [ -z "${KEEP_DAEMON:-}" ] && ! cmp -s "$1" "$root$program"; then
		if serves; then trial=1; else place "$1" "$program" 0755; fi
	fi
	if ! booted; then
		echo "systemd does not run here. On the machine that boots from this, finish as root: sh $2/node.sh install $user $1 $2"
		return
	fi
	step "starting the daemon"
	run systemctl start "user@$uid.service"
	as_user systemctl --user daemon-reload
	as_user systemctl --user enable --quiet --now podman.socket
	as_user systemctl --user enable --quiet archipelago.service archipelago-prober.service
	[ -z "$changed" ] || as_user systemctl --user stop podman.service
	if [ -n "$trial" ]; then
		# The new one is on trial: if it does not serve, the one that is there returns, and
		# this fails. The prober follows its program.
		put "$1" "$program.candidate" 0755
		upgraded=0
		as_user "$program.candidate" upgrade --unsigned "$program.candidate" || upgraded=$?
		as_user rm -f "$program.candidate"
		[ "$upgraded" = 0 ] || exit "$upgraded"
	elif [ -n "$changed" ]; then
		# A trial belongs to the program that it was begun for.
		as_user rm -f "$program.trial"
		as_user systemctl --user restart archipelago.service
	fi
	[ -z "$changed" ] || as_user systemctl --user restart archipelago-prober.service
	as_user systemctl --user start archipelago.service archipelago-prober.service
	as_user rm -f "$restart"
	look
}

# serves tells whether a daemon runs that can return if a new one fails.
serves() {
	[ -z "$dry" ] || return 0
	booted && as_user systemctl --user is-active --quiet archipelago.service
}

# look has the daemon say what it finds.
look() {
	[ -z "$dry" ] || return 0
	fingerprint=$(runuser -u "$user" -- "$program" fingerprint)
	as_user "$program" doctor || echo "the node lacks something; Archipelago runs all the same"
	# A daemon that was kept may be older than this command, and has nothing to say then.
	runuser -u "$user" -- "$program" claim 2>/dev/null || true
	cat <<-END
		Archipelago runs. To sign in on this machine, with the command archy:
		  sudo cat $data/_daemon/state/token | archy login http://127.0.0.1:7070
		My Apps is at https://$(hostname):7443; https://$(hostname):7443/trust says how to end your
		browser's warning. Browsers, and archy on other machines, know this node by its fingerprint:
		  $fingerprint
	END
}

remove() {
	id "$user" >/dev/null 2>&1 || return 0
	about
	if booted && [ -e "$root/run/user/$uid/bus" ]; then
		step "stopping the daemon"
		as_user systemctl --user disable --quiet --now archipelago.service archipelago-prober.service || true
	fi
	as_user rm -f "$program" "$program.rollback" "$program.previous" "$program.trial" "$program.candidate" \
		"$units/archipelago.service" "$units/archipelago-prober.service" "$units/archipelago.restart" \
		"$units/default.target.wants/archipelago.service" "$units/default.target.wants/archipelago-prober.service" \
		"$units/podman.service.d/archipelago.conf"
	for dir in $(scopes); do as_user rm -f "$dir/archipelago.conf"; done
	run rm -f /etc/sudoers.d/archipelago
	if booted && [ -e "$root/run/user/$uid/bus" ]; then as_user systemctl --user daemon-reload || true; fi
	echo "The data in $data stays, and installed applications run on as services of $user."
}

case ${1:-}:$# in
packages:1) packages ;;
check:2)
	user=$2
	check
	;;
prepare:2)
	user=$2
	prepare
	;;
install:4)
	user=$2
	prepare
	install_daemon "$3" "$4"
	;;
remove:2)
	user=$2
	remove
	;;
*)
	echo "usage: node.sh packages | check USER | prepare USER | install USER PROGRAM DIR | remove USER" >&2
	exit 2
	;;
esac
