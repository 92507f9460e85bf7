#!/bin/bash
# Follows cpu.sh.
# Says how a node is at the end of a cycle, a fact a line, and "end" in the end: measures of
# what must not grow, and what its journal and its kernel said since the cursor $1 (none: not
# asked). $2 is the node's data directory; $3 is "own" where the kernel's log is about this
# machine alone.
set -o pipefail
since=$1 data=$2 kernel=$3
most=8000000 # bytes
fields=MESSAGE,MESSAGE_ID,USER_UNIT,UNIT_RESULT,JOB_TYPE,JOB_ID,SYSLOG_IDENTIFIER,_COMM,_PID,_SYSTEMD_USER_UNIT,CONTAINER_NAME,PODMAN_EVENT,PODMAN_NAME,PODMAN_HEALTH_STATUS,COREDUMP_USER_UNIT

measure() { # NAME COMMAND...: the number of lines that it prints
  local name=$1 told
  shift
  if told=$("$@" | wc -l); then echo "measure $name $told"; else echo "failed $name"; fi
}

# Of every process of this user and of its containers, the user. One may end meanwhile.
processes() {
  { find /proc -maxdepth 1 -name '[0-9]*' -printf '%U\n' 2>/dev/null || true; } | awk -F: -v uid="$UID" -v name="$(id -un)" '
    FILENAME != "-" { if ($1 == name || $1 == uid) { first[++n] = $2; last[n] = $2 + $3 }; next }
    $1 == uid { print; next }
    { for (i = 1; i <= n; i++) if ($1 >= first[i] && $1 < last[i]) { print; next } }' /etc/subuid -
}

# Files that processes of this user hold open, as far as they can be seen.
files() { find /proc/[0-9]*/fd -mindepth 1 -maxdepth 1 2>/dev/null || true; }

# The memory of a unit's main process, in bytes, and the files that it holds open.
main_process() { # UNIT NAME
  local pid
  if ! pid=$(systemctl --user show -p MainPID --value "$1"); then
    echo "failed $1"
  elif [ "$pid" = 0 ] || ! awk -v name="$2" '/^VmRSS:/ { printf "measure %s-memory %d\n", name, $2 * 1024; n++ } END { exit !n }' "/proc/$pid/status" 2>/dev/null; then
    echo "unread $2-memory: $1 does not run"
  else
    echo "measure $2-files $(find "/proc/$pid/fd" -mindepth 1 2>/dev/null | wc -l)"
  fi
}

# The program that the daemon runs, by its SHA-256, read from the process and not from a file
# of its name. A daemon that is being started has 10 s to say that it runs; before, its process
# may still be systemd's.
program() {
  local told pid sum until=$((SECONDS + 10))
  while :; do
    if ! told=$(systemctl --user show -p MainPID -p ActiveState archipelago.service); then
      echo "failed archipelago.service"
      return
    fi
    pid=$(sed -n 's/^MainPID=//p' <<<"$told")
    if [[ $told == *ActiveState=active* && $pid != 0 ]] && sum=$(sha256sum <"/proc/$pid/exe" 2>/dev/null); then
      echo "program ${sum%% *}"
      return
    fi
    if [ "$SECONDS" -ge "$until" ]; then
      echo "program none"
      return
    fi
    sleep 0.5
  done
}

# Bytes that applications' data and the store of containers take.
disk() { # STORE
  local told
  if told=$(LC_ALL=C nice -n 19 timeout 120 podman unshare du -scx -B1 "$data" "$1" 2>/dev/null | awk '$2 == "total" { print $1 }' || true) && [ -n "$told" ]; then
    echo "measure disk $told"
  else
    echo "unread disk: $data and $1 could not be counted within two minutes"
  fi
}

counters() {
  local line value
  if value=$(awk '$1 == "oom_kill" { print $2 }' "/sys/fs/cgroup/user.slice/user-$UID.slice/user@$UID.service/memory.events" 2>/dev/null) && [ -n "$value" ]; then
    echo "oom $value"
  else
    echo "unread oom-kills: the user's memory is not accounted for on this node"
  fi
  if ! line=$(systemctl --user show -p Id,NRestarts '*.service'); then
    echo "failed restarts"
    return
  fi
  awk -F= '$1 == "Id" { id = $2 } $1 == "NRestarts" { n = $2 } id != "" && n != "" { if (n > 0) print "restarts", id, n; id = n = "" }' <<<"$line"
}

# Lines of the journal since the cursor, as JSON.
since() { journalctl --quiet --no-pager --after-cursor="$since" --output=json --output-fields="$fields" "$@"; }

# grep prints nothing where nothing matches, which is no failure.
some() { grep -Ei "$1" || [ $? = 1 ]; }

journal() {
  local id units=() file readable=""
  for id in 7d4958e842da4a758f6c1cdc7b36dcc5 39f53479d3a045ac8e11786248231fbf be02cf6855d2428ba40df7e9d022f03d 9d1aaa27d60140bd96365438aad20286 de5b426a63be47a7b6ac3eaac82e2f6f 98e322203f7a4ed290d09fe03c09fe15 d9b373ed55a64feb8242e02dbe79a49c 5eb03494b6584870a536b337290809b3 fe6faa94e7774663a0da52717891d8ef; do
    units+=("MESSAGE_ID=$id" +)
  done
  since --user "${units[@]}" PODMAN_HEALTH_STATUS=unhealthy + SYSLOG_IDENTIFIER=archipelago-gate | sed 's/^/user /' || echo "failed journal of the user"
  since --user _COMM=podman + _COMM=archipelago |
    some 'no space left on device|read-only file system|input/output error|structure needs cleaning|database disk image is malformed|disk quota exceeded' | sed 's/^/user /' || echo "failed journal of Podman"
  if [ "$kernel" != own ]; then
    echo "unread kernel: it is not this node's own, but that of the machine around it"
    return
  fi
  for file in /var/log/journal/*/system.journal /run/log/journal/*/system.journal; do
    [ -r "$file" ] && readable=yes
  done
  if [ -z "$readable" ]; then
    echo "unread kernel: the user is not in the group systemd-journal"
    return
  fi
  since _TRANSPORT=kernel + MESSAGE_ID=fc2e22bc6ee647b6b90729ab34a250b1 |
    some 'oom-kill:|out of memory|segfault at|general protection fault|trap invalid opcode|I/O error|EXT4-fs error|XFS|BTRFS|read-only|failed command|target error|medium error|fc2e22bc6ee647b6b90729ab34a250b1' | sed 's/^/kernel /' || echo "failed journal of the kernel"
}

look() {
  local boot line init=() info
  read -r boot </proc/sys/kernel/random/boot_id
  line=$(</proc/1/stat)
  read -ra init <<<"${line##*) }"
  echo "boot $boot/${init[19]}" # PID 1's start time
  # First where the journal ends: what comes later is told again by the next look, and left
  # out here.
  echo "cursor $(journalctl --user --quiet --no-pager --lines=1 --output=cat --output-fields=MESSAGE --show-cursor | sed -n 's/^-- cursor: //p')"
  measure containers podman ps --all --quiet
  measure volumes podman volume ls --quiet
  measure networks podman network ls --quiet
  measure secrets podman secret ls --quiet
  measure processes processes
  measure files files
  program
  main_process archipelago.service daemon
  main_process podman.service podman
  if info=$(podman info --format '{{.Host.EventLogger}} {{.Store.GraphRoot}}'); then
    disk "${info#* }"
    [ "${info%% *}" = journald ] || echo "unread health: Podman keeps its events in ${info%% *}, not in the journal"
  else
    echo failed podman
  fi
  counters
  used
  [ -z "$since" ] || journal
  echo end
}

look | head -c "$most"
