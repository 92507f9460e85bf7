#!/bin/sh
# start-daemon.sh [changed]: starts the daemon's unit, or restarts it with Podman's
# service if what was installed has changed.
set -eu
systemctl --user daemon-reload
systemctl --user enable -q --now podman.socket
systemctl --user enable -q archipelago.service
if [ "${1:-}" = changed ]; then
	systemctl --user stop podman.service
	systemctl --user restart archipelago.service
else
	systemctl --user start archipelago.service
fi
