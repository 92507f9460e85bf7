#!/bin/bash
# Tells a witness what systemd and the disk say of an application, a fact a line.
# Standard input: what Podman's API shows of its containers.
app=$1 data=$2 label=$3 since=$4 units=$5 volumes=$6 pids=$7
secrets=$data/_daemon/secrets/$app
unit_files=~/.config/containers/systemd

echo "boot $(cat /proc/sys/kernel/random/boot_id)/$(sed 's/.*) //' /proc/1/stat | cut -d' ' -f20)"
echo "ids $(id -u) $(grep "^$(id -un):" /etc/subuid | cut -d: -f2) $(grep "^$(id -un):" /etc/subgid | cut -d: -f2)"
# shellcheck disable=SC2086 # a list of units
systemctl --user show -p Id,LoadState,ActiveState,SubState,WantedBy $units | awk -F= '
  function unit() { print "unit", v["Id"], v["LoadState"], v["ActiveState"], v["SubState"], (v["WantedBy"] ~ /default.target/) }
  /=/  { v[$1] = $2 }
  /^$/ { unit(); delete v }
  END  { unit() }'
grep -ls "^Label=\"$label=$app\"\$" "$unit_files"/* 2>/dev/null | while read -r f; do
  echo "file ${f##*/}"
done
for v in $volumes; do
  [ -e "$v" ] && echo "volume ${v##*/} $(stat -c '%i %u %g %a' "$v")"
done
for f in "$secrets"/*; do
  [ -e "$f" ] && echo "secret ${f##*/} $(sha256sum <"$f" | cut -d' ' -f1) $(stat -c %a "$f")"
done
for p in $pids; do
  echo "process $p $(awk 'NR==1{print $2}' "/proc/$p/uid_map") $(awk '/^Cap(Eff|Bnd):/{printf "%s ", $2}' "/proc/$p/status")"
done

# The secrets' values stay on the node: they are looked for here. A secret that a
# purge deletes between the listing and the reading has no value; an empty pattern
# would be found everywhere.
values=$(for f in "$secrets"/*; do cat "$f" 2>/dev/null; echo; done | grep .)
if [ -n "$values" ]; then
  holds() { grep "$@" -qFf <(printf '%s\n' "$values"); }
  holds && echo leak inspect
  holds -r "$unit_files" 2>/dev/null && echo leak unit-files
  journalctl --user --since "$since" -o cat 2>/dev/null | holds && echo leak journal
  holds -r "$data/_daemon/catalog" "$data/_daemon/state" 2>/dev/null && echo leak catalog-or-state
fi
true
