#!/bin/sh
# start-daemon.sh SHA256 [changed]: starts the units of daemon and prober, or restarts
# them with Podman's service if what was installed has changed, or if another program runs than
# the one with this digest: an earlier deployment was cut off before its restart.
set -eu
running() {
	pid=$(systemctl --user show -p MainPID --value archipelago.service)
	if [ "$pid" != 0 ]; then sha256sum < "/proc/$pid/exe" | cut -d' ' -f1; fi
}
systemctl --user daemon-reload
systemctl --user enable -q --now podman.socket
systemctl --user enable -q archipelago.service archipelago-prober.service
now=$(running)
if [ "${2:-}" = changed ] || { [ -n "$now" ] && [ "$now" != "$1" ]; }; then
	systemctl --user stop podman.service
	systemctl --user restart archipelago.service archipelago-prober.service
else
	systemctl --user start archipelago.service archipelago-prober.service
fi
now=$(running)
if [ "$now" != "$1" ]; then
	echo "another daemon runs than the one deployed: its program has SHA-256 ${now:-none}, expected $1; see journalctl --user -u archipelago" >&2
	exit 1
fi
