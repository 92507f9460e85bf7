#!/bin/bash
# Takes every trace of applications off a node. It does not ask the daemon, which may
# be the broken one of an earlier run. $1 is the node's data directory.
set -u
data=$1
label=io.archipelago.app

systemctl --user stop archipelago.service 2>/dev/null
if cd ~/.config/containers/systemd 2>/dev/null; then
  for f in *; do
    grep -qs "^Label=\"$label=" -- "$f" || continue
    case $f in
      *.container) systemctl --user stop "${f%.container}.service" 2>/dev/null ;;
      *.network) systemctl --user stop "${f%.network}-network.service" 2>/dev/null ;;
    esac
    rm -f -- "$f"
  done
fi
for f in ~/.config/systemd/user/*.service.d/archipelago.conf; do
  grep -qs '^ExecStopPost=.*cidfile' -- "$f" || continue # the others are the daemon's own
  rm -f -- "$f"
  rmdir --ignore-fail-on-non-empty -- "${f%/*}"
done
systemctl --user daemon-reload
systemctl --user reset-failed

# Older Podmans cannot filter what they remove.
podman rm --all --force --time 2 --filter label=$label >/dev/null 2>&1 ||
  podman ps -aq --filter label=$label | xargs -r podman rm -f -t 2 >/dev/null
podman network ls -q --filter label=$label | xargs -r podman network rm -f >/dev/null
for s in $(podman secret ls --format '{{.Name}}'); do
  case $s in *.*) podman secret rm "$s" >/dev/null ;; esac
done

cd "$data" || exit
for d in *; do
  case $d in
    _* | lost+found | '*') ;;
    # The files belong to mapped ids, which only the user namespace may delete.
    *) podman unshare rm -rf --one-file-system -- "$d" ;;
  esac
done
rm -rf _daemon/state/desired _daemon/state/data _daemon/state/observed.json _daemon/state/accept.json _daemon/secrets
podman unshare rm -rf _daemon/snapshots _daemon/files
true
