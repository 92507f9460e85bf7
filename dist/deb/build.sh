#!/bin/sh
# build.sh VERSION ARCH PROGRAMS OUT: builds the packages archipelago and archipelago-tools
# of a version, as 'git describe' writes it, for an architecture of Debian, into the
# directory OUT. The programs are in PROGRAMS, as archy or archy-linux-ARCH; those of this
# machine, which write their own man pages and completions, are in NATIVE (default:
# PROGRAMS). The same input gives the same bytes: times are SOURCE_DATE_EPOCH, by default
# that of the commit.
#
# build.sh --version VERSION: prints the version of the packages.
set -eu
[ $# = 4 ] || [ "${1:-}:$#" = --version:2 ] || { echo "usage: build.sh VERSION ARCH PROGRAMS OUT | --version VERSION" >&2; exit 2; }

# debian_version: before 1.2.0 comes 1.2.0-rc1, and after it what is four commits further,
# 1.2.0-4-gabcdef0. Without any tag, a commit has no number.
debian_version() {
	v=${1#v} dirty=
	case $v in *-dirty) v=${v%-dirty} dirty=1 ;; esac
	after=
	case $v in
	*-[0-9]*-g[0-9a-f]*)
		hash=${v##*-} rest=${v%-*}
		after=${rest##*-}.$hash v=${rest%-*}
		;;
	*[!0-9a-f]*) ;;
	???????*) v=0~git.$v ;; # a commit
	esac
	v=$(echo "$v" | tr - '~')
	[ -z "$dirty" ] || after=${after:+$after.}dirty
	echo "$v${after:+.$after}"
}

asked=$1
[ $# = 4 ] || asked=$2
VERSION=$(debian_version "$asked")
case $VERSION in
[!0-9]* | *[!0-9A-Za-z.~+]* | '')
	echo "build.sh: version '$asked' is none of a package: expected one such as 1.2.0, 1.2.0-rc1 or 1.2.0-4-gabcdef0" >&2
	exit 2
	;;
esac
if [ $# = 2 ]; then
	echo "$VERSION"
	exit
fi
ARCH=$2 PROGRAMS=$(realpath "$3") SUFFIX=
mkdir -p "$4"
out=$(realpath "$4") native=$(realpath "${NATIVE:-$3}")
cd "$(dirname "$0")/../.."
for program in archipelago archy gate; do
	if [ -e "$PROGRAMS/$program-linux-$ARCH" ]; then
		SUFFIX=-linux-$ARCH
	elif [ ! -e "$PROGRAMS/$program" ]; then
		echo "build.sh: there is no program $program for $ARCH in $PROGRAMS: build it first" >&2
		exit 1
	fi
done
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
# Of two packages, the daemon needs these versions or newer: see prerequisites.go.
DEPENDS=$(sh dist/node.sh packages | sed 's/\bsystemd /systemd (>= 254) /; s/\bpodman /podman (>= 5.0) /; s/\([a-z)]\) \([a-z]\)/\1, \2/g')
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
export VERSION ARCH PROGRAMS SUFFIX SOURCE_DATE_EPOCH DEPENDS WORK
for program in archy gate; do
	"$native/$program" docs man "$WORK/man"
	for shell in bash zsh fish; do "$native/$program" completion "$shell" >"$WORK/$program.$shell"; done
done
gzip -9 -n "$WORK"/man/*
chmod 0644 "$WORK"/man/*
touch --date "@$SOURCE_DATE_EPOCH" "$WORK"/man "$WORK"/man/*
for package in archipelago archipelago-tools; do
	deb=${package}_${VERSION}_$ARCH.deb
	go tool -modfile=dist/deb/nfpm.mod nfpm package --config "dist/deb/$package.yaml" --packager deb --target "$WORK/$deb" >/dev/null
	mv "$WORK/$deb" "$out/$deb.new"
	mv "$out/$deb.new" "$out/$deb"
	echo "$out/$deb"
done
