#!/bin/bash
# Tells a witness what systemd, the kernel and the disk say of an application, a fact a
# line, and "end" in the end: whoever reads knows whether anything is missing. Its name is
# "look", or "glance" for less.
# Standard input: what Podman's API shows of its containers.
app=$1 data=$2 label=$3 since=$4 units=$5 volumes=$6 mains=$7 others=$8 inside=$9 devices=${10} texts=${11}
secrets=$data/_daemon/secrets/$app
unit_files=~/.config/containers/systemd
most=4000000 # bytes

boot() {
  local boot line init=()
  read -r boot </proc/sys/kernel/random/boot_id
  line=$(</proc/1/stat)
  read -ra init <<<"${line##*) }"
  echo "boot $boot/${init[19]}" # PID 1's start time
}

# The ids of this user and of its containers.
identity() {
  local user kind name first ids=""
  user=$(id -un)
  for kind in uid gid; do
    while IFS=: read -r name first _; do
      if [ "$name" = "$user" ]; then
        ids+=" $first"
        break
      fi
    done <"/etc/sub$kind"
  done
  echo "ids $UID$ids"
}

# What was told of units, by systemd.
units() {
  [ -n "$units" ] || return 0
  local told
  # shellcheck disable=SC2086 # a list of units
  if ! told=$(systemctl --user show -p Id,LoadState,ActiveState,SubState,WantedBy,Type,Restart,RestartUSec,RestartSteps,RestartMaxDelayUSec,StartLimitIntervalUSec,TimeoutStartUSec,TimeoutStopUSec,MemoryMax,ControlGroup,Requires,After,SuccessExitStatus,KillMode,CPUQuotaPerSecUSec,TasksMax,ExecCondition,ExecStartPre,ExecStartPost,ExecReload $units); then
    echo failed systemctl
    return
  fi
  awk '
    function unit(  name, file, max) {
      if (!("Id" in v)) return
      print "unit", v["Id"], v["LoadState"], v["ActiveState"], v["SubState"], (v["WantedBy"] ~ /default.target/)
      for (name in v)
        if (name !~ /^(Id|LoadState|ActiveState|SubState|WantedBy|ControlGroup)$/) print "property", v["Id"], name, v[name]
      file = "/sys/fs/cgroup" v["ControlGroup"] "/memory.max"
      if (v["ControlGroup"] != "" && (getline max < file) > 0) print "memory", v["Id"], max
      file = "/sys/fs/cgroup" v["ControlGroup"] "/pids.max"
      if (v["ControlGroup"] != "" && (getline max < file) > 0) print "tasks", v["Id"], max
      split("", v)
    }
    /=/  { at = index($0, "="); name = substr($0, 1, at - 1); v[name] = (name in v ? v[name] " " : "") substr($0, at + 1) } # a line for each command
    /^$/ { unit() }
    END  { unit() }' <<<"$told"
}

# What the kernel says of the containers' processes. A process that ends meanwhile is
# left out; the main one of a container is missed.
processes() {
  awk -v mains="$mains" -v own="$(readlink /proc/self/ns/pid)" '
    function process(main, pid,  file, line, f, n, i, id, v) {
      file = "/proc/" pid "/status"
      while ((getline line < file) > 0) {
        n = split(line, f, /[ \t]+/)
        if (f[1] == "Uid:" || f[1] == "Gid:") {
          id = f[2]
          for (i = 3; i <= 5; i++) if (f[i] != f[2]) id = id "/" f[i]
          v[f[1]] = id
        } else if (f[1] == "Groups:") {
          id = ""
          for (i = 2; i <= n; i++) if (f[i] != "") id = id (id == "" ? "" : ",") f[i]
          v[f[1]] = id == "" ? "-" : id
        } else v[f[1]] = f[2]
      }
      close(file)
      if (!("Seccomp:" in v)) return 0
      print "process", main, pid, (exe[pid] == "" ? "-" : exe[pid]), v["Uid:"], v["Gid:"], v["Groups:"], v["CapInh:"], v["CapPrm:"], v["CapEff:"], v["CapBnd:"], v["CapAmb:"], v["NoNewPrivs:"], v["Seccomp:"]
      return 1
    }
    function limits(main, pid, whose,  file, line, f, name, n) {
      file = "/proc/" pid "/limits"
      while ((getline line < file) > 0) {
        if (line !~ /^Max /) continue
        name = substr(line, 1, 25); sub(/ +$/, "", name); gsub(/ /, "_", name)
        split(substr(line, 26), f, " ")
        print "limit", main, whose, name, f[1], f[2]
        n++
      }
      close(file)
      return n
    }
    function main_process(main, parent,  file, line, f, n, i) {
      n = 0
      file = "/proc/" main "/uid_map"
      if ((getline line < file) > 0) { split(line, f, " "); print "root", main, f[2]; n++ }
      close(file)
      file = "/proc/" main "/cgroup"
      while ((getline line < file) > 0) if (line ~ /^0::/) { print "cgroup", main, substr(line, 4); n++ }
      close(file)
      file = "/proc/" main "/mountinfo"
      while ((getline line < file) > 0) {
        split(line, f, " ")
        for (i = 7; f[i] != "-"; i++);
        print "mount", main, f[5], f[6], f[i + 1], f[4], (f[i + 1] == "tmpfs" ? f[i + 3] : "-")
      }
      close(file)
      if (n < 2 || !limits(main, main, "own") || !limits(main, parent, "parent")) print "gone", main
    }
    {
      split($1, p, "/")
      if (p[4] != "exe") ns[p[3]] = $2
      else if ($2 ~ /^\/memfd:/) exe[p[3]] = "memfd"
      else { sub(/.*\//, "", $2); exe[p[3]] = $2 }
    }
    END {
      count = split(mains, m, " ")
      for (i = 1; i <= count; i++) {
        split(m[i], pair, ":")
        main = pair[1]
        if (!(main in ns) || !process(main, main)) { print "gone", main; continue }
        if (ns[main] != own)
          for (pid in ns) if (pid != main && ns[pid] == ns[main]) process(main, pid)
        main_process(main, pair[2])
      }
    }'
}

# What listens, on any address of the node, and the programs of this user that hold it.
sockets() {
  local files=() file listening
  for file in /proc/net/{tcp,tcp6,udp,udp6}; do
    [ -e "$file" ] && files+=("$file")
  done
  if ! listening=$(awk 'FNR > 1 { name = FILENAME; sub(/.*\//, "", name); if ($4 == (name ~ /^tcp/ ? "0A" : "07")) print name, $2, $10 }' "${files[@]}"); then
    echo failed sockets
    return
  fi
  find /proc/[0-9]*/fd -lname 'socket:*' -printf '%h %l\n' 2>/dev/null | awk '
    FNR == NR { proto[NR] = $1; address[NR] = $2; inode[NR] = $3; count = NR; next }
    { split($1, p, "/"); gsub(/[^0-9]/, "", $2); holder[$2] = p[3] }
    END {
      for (i = 1; i <= count; i++) {
        if (inode[i] == "") continue
        told++
        program = cgroup = "-"
        if (inode[i] in holder) {
          file = "/proc/" holder[inode[i]] "/comm"; if ((getline line < file) > 0) { program = line; gsub(/ /, "_", program) }; close(file)
          file = "/proc/" holder[inode[i]] "/cgroup"; while ((getline line < file) > 0) if (line ~ /^0::/) cgroup = substr(line, 4); close(file)
        }
        print "socket", proto[i], address[i], program, cgroup
      }
      print "sockets", told + 0
    }' <(printf '%s\n' "$listening") -
}

# The forms that a secret has, which do not tell its value.
form() {
  local LC_ALL=C v n out="" pad
  v=$(cat "$1" 2>/dev/null && echo .)
  v=${v%.}
  n=${#v}
  [[ $v =~ ^[A-Za-z0-9]+$ ]] && out+=",letters:$n"
  [[ $v =~ ^([0-9a-f]{2})+$ ]] && out+=",hex:$((n / 2))"
  if [[ $v =~ ^[A-Za-z0-9+/]+={0,2}$ ]] && ((n % 4 == 0)); then
    pad=${v##*[!=]}
    out+=",base64:$((n * 3 / 4 - ${#pad}))"
  fi
  case $v in
  "-----BEGIN PUBLIC KEY-----"*) out+=,public_key ;;
  "-----BEGIN CERTIFICATE-----"*) out+=,certificate ;;
  esac
  # The head of PKCS #8, in base64, which names the algorithm.
  [[ $v =~ ^-----BEGIN\ PRIVATE\ KEY-----[[:space:]]MC4CAQAwBQYDK2VwBCIEI[A-Za-z0-9+/]{43}[[:space:]] ]] && out+=,ed25519
  [[ $v =~ ^-----BEGIN\ PRIVATE\ KEY-----[[:space:]]MII...IBADANBgkqhkiG9w0BAQEFAASC ]] && out+=,rsa
  [[ $v =~ ^\$2a\$10\$[./A-Za-z0-9]{53}$ ]] && out+=,bcrypt
  [[ $v =~ ^\$argon2id\$v=19\$m=65536,t=3,p=4\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$ ]] && out+=,argon2id
  [[ $v =~ ^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$ ]] && out+=,uuid
  echo "${out:-,other}"
}

# Where the paths of devices lead.
devices() {
  local p f
  for p in $devices; do
    if f=$(readlink -e "$p"); then echo "device $p $f"; else echo "device $p absent"; fi
  done
}

# The digests of what containers read in files, with {{secret:NAME}} in place of the values
# of secrets: these stay on the node. Longer ones come first, which a shorter one may be a
# part of; one that is too short to be told from other text is left, unless it is all there is.
texts() {
  local LC_ALL=C p pid text v f values=() names=()
  while IFS=' ' read -r _ f; do
    v=$(cat "$f" && echo .) || continue
    values+=("${v%.}")
    f=${f##*/}
    names+=("{{secret:${f%%.*}}}")
  done < <(for f in "$secrets"/*; do [ -f "$f" ] && v=$(stat -c %s "$f") && ((v > 0)) && echo "$v $f"; done | sort -rn)
  for p in $texts; do
    pid=${p%%:*} p=${p#*:}
    # In the container's user namespace, where its user's files can be read.
    text=$(nsenter -t "$pid" -U --preserve-credentials cat "/proc/$pid/root$p" 2>/dev/null && echo .) || continue
    text=${text%.}
    for f in "${!values[@]}"; do
      if ((${#values[f]} >= 8)) || [ "$text" = "${values[f]}" ]; then text=${text//"${values[f]}"/"${names[f]}"}; fi
    done
    v=$(printf %s "$text" | sha256sum)
    echo "text $pid $p ${v%% *}"
  done
}

# The values of secrets, a line each: what must stand nowhere else. Public keys and
# certificates are for everybody, and of a private key the lines that are like no others.
patterns() {
  local f
  for f in "$secrets"/*; do
    case $(head -c 30 "$f" 2>/dev/null) in
    "-----BEGIN PUBLIC KEY"* | "-----BEGIN CERTIFICATE"*) continue ;;
    "-----BEGIN "*) grep -E '.{40}' "$f" 2>/dev/null ;;
    *) cat "$f" 2>/dev/null ;;
    esac
    echo
  done | grep .
}

look() {
  local p v f values links=() paths=()
  boot
  echo "host $(uname -n)"
  identity
  units
  grep -ls "^Label=\"$label=$app\"\$" "$unit_files"/* 2>/dev/null | while read -r f; do
    echo "file ${f##*/}"
  done
  for f in $units; do
    for p in ~/.config/systemd/user/"$f.d"/*; do
      [ ! -f "$p" ] || { v=$(sha256sum "$p") && echo "dropin $f ${p##*/} ${v%% *}"; }
      [ "${p##*/}" != archipelago.conf ] || echo "file $f.d/archipelago.conf"
    done
  done
  for v in $volumes; do
    if f=$(stat -c '%i %u %g %a' "$v" 2>/dev/null); then echo "volume ${v##*/} $f"
    elif [ -x "$data" ]; then echo "volume ${v##*/} absent"
    fi
  done
  for f in "$app" "_daemon/secrets/$app" "_daemon/files/$app" "_daemon/snapshots/$app" "_daemon/snapshots/$app.other"; do
    if [ -e "$data/$f" ] || [ -L "$data/$f" ]; then echo "folder $f there"
    elif [ -x "$data" ]; then echo "folder $f absent"
    fi
  done
  for f in "$secrets"/*; do
    v=$(sha256sum "$f" 2>/dev/null) && p=$(stat -c %a "$f" 2>/dev/null) && echo "secret ${f##*/} ${v%% *} $p" && echo "form ${f##*/} $(form "$f")"
  done

  for p in self $mains $others; do
    links+=("/proc/${p%%:*}/ns/"{user,pid,ipc,uts,net,mnt})
  done
  find "${links[@]}" -maxdepth 0 -printf '%p %l\n' 2>/dev/null | while IFS='/ ' read -r _ _ p _ f v; do
    [ -n "$v" ] && echo "ns $p $f $v"
  done
  devices
  for p in $inside; do
    paths+=("/proc/${p%%:*}/root${p#*:}")
  done
  [ ${#paths[@]} -eq 0 ] || stat -c '%n %u %g %a %i' "${paths[@]}" 2>/dev/null | sed -n 's|^/proc/\([0-9]*\)/root|inside \1 |p'
  texts
  if [ -n "$mains" ]; then
    find /proc/[0-9]*/ns/pid /proc/[0-9]*/exe -maxdepth 0 -printf '%p %l\n' 2>/dev/null | processes
  fi
  sockets

  # The secrets' values stay on the node: they are looked for here. A secret that a
  # purge deletes between the listing and the reading has no value; an empty pattern
  # would be found everywhere.
  values=$(patterns)
  if [ -n "$values" ]; then
    holds() { grep "$@" -qFf <(printf '%s\n' "$values"); }
    holds && echo leak inspect
    holds -r "$unit_files" 2>/dev/null && echo leak unit-files
    journalctl --user --since "$since" -o cat 2>/dev/null | holds
    came=("${PIPESTATUS[@]}")
    if [ "${came[1]}" = 0 ]; then echo leak journal; elif [ "${came[0]}" != 0 ]; then echo failed journal; fi
    holds -r "$data/_daemon/catalog" "$data/_daemon/state" 2>/dev/null && echo leak catalog-or-state
  fi
  echo end
}

# What is cheap to ask of the whole node, for those who wait; units is a pattern.
glance() {
  set -f
  boot
  units
  echo end
}

"$0" | head -c "$most"
