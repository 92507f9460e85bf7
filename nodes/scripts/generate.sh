#!/bin/sh
# generate.sh: has Podman's generator make services of the unit files in the tar archive on
# standard input, and prints them. systemd learns nothing of them. A file that the generator
# refuses is a failure.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
tar -x -C "$dir"
for generators in /usr/lib/systemd/user-generators /usr/local/lib/systemd/user-generators /etc/systemd/user-generators; do
	[ -x "$generators/podman-user-generator" ] || continue
	QUADLET_UNIT_DIRS=$dir "$generators/podman-user-generator" -user -dryrun
	exit
done
echo "Podman's generator, podman-user-generator, is not installed" >&2
exit 1
