#!/bin/sh
# delete-moved.sh DIR: deletes a directory that a move has made, and the one above, which it
# made for the application, if that is empty.
set -eu
rm -rf --one-file-system -- "$1"
[ ! -d "${1%/*}" ] || rmdir --ignore-fail-on-non-empty -- "${1%/*}"
