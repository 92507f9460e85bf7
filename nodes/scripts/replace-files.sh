#!/bin/sh
# replace-files.sh OWN MARK: installs a tar archive from standard input: home/ goes below
# the home directory, catalog/ replaces the catalog in OWN. MARK stands for the content:
# prints "same" and does nothing if it is what was installed last.
set -eu
umask 077
own=$1 mark=$2 units=$HOME/.config/systemd/user
mkdir -p "$own"
cd "$own"
if [ "$(cat catalog.digest 2>/dev/null)" = "$mark" ] && [ -e "$units/archipelago.service" ]; then
	echo same
	exit
fi
rm -rf new
mkdir new
tar -x -C new
rm -f "$units/archipelago.service.d/deployment.conf" "$units/archipelago-prober.service.d/deployment.conf"
(cd new/home && find . -type f) > new/list # not in a pipe, where its failure would be lost
while read -r file; do
	mkdir -p "$HOME/${file%/*}"
	cp "new/home/$file" "$HOME/$file.new"
	mv -f "$HOME/$file.new" "$HOME/$file"
done < new/list
rm -rf old
[ ! -e catalog ] || mv catalog old
mv new/catalog catalog
rm -rf old new
echo "$mark" > catalog.digest
sync -f . "$units"
