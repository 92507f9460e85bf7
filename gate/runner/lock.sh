#!/bin/sh
# Takes the lock $1 for the holder $2 and says "taken", or says who holds it. Before that, it
# removes a lock whose holder is exactly $3. Without $2, it does only that. Of several at the
# same time, one after the other has its turn.
set -eu
lock=$1 holder=$2 stale=$3
exec 9<"$(dirname "$lock")"
flock -w 10 9
if [ -n "$stale" ] && [ "$(cat "$lock/holder" 2>/dev/null || true)" = "$stale" ]; then
  rm -rf "$lock"
fi
[ -n "$holder" ] || exit 0
if [ -d "$lock" ]; then
  cat "$lock/holder" 2>/dev/null || true
  exit 0
fi
mkdir "$lock"
if ! printf '%s\n' "$holder" >"$lock/holder"; then
  rm -rf "$lock"
  exit 1
fi
echo taken
