#!/bin/sh
# Puts the kernel's drm/panthor_drm.h, uAPI 1.9 or later, below target/uapi/usr/include, where
# tests/vpanthor/uapi_header.rs compares it with src/uapi. Installs nothing, needs no root, can be run again.
#
# Where it comes from: /usr/include, if this machine's linux-libc-dev is new enough; else the package linux-libc-dev of
# Debian's trixie-backports, downloaded with apt from the mirror that this machine's own apt sources name, with lists
# and cache of its own, and unpacked.
set -eu

repo=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
out=$repo/target/uapi
suite=trixie-backports
say() { echo "uapi-header: $*" >&2; }
die() { say "$*"; exit 1; }

# The newest thing in 1.9.
is_new_enough() { grep -qs DRM_PANTHOR_VM_BIND_OP_MAP_SPARSE "$1/drm/panthor_drm.h"; }

if is_new_enough "$out/usr/include"; then
    say "$out/usr/include has it already"
    exit 0
fi
if is_new_enough /usr/include; then
    mkdir -p "$out/usr"
    rm -rf "$out/usr/include"
    ln -s /usr/include "$out/usr/include"
    say "this machine's own /usr/include has it: $out/usr/include points there"
    exit 0
fi

by_hand="get drm/panthor_drm.h of Linux 7.3 or later and set PANVK_SPARSE_UAPI_INCLUDE to the folder that holds drm/"
for tool in apt-get dpkg-deb awk; do
    command -v $tool >/dev/null || die "no $tool on this machine: $by_hand"
done
download=$out/download
rm -rf "$download"
"$repo/scripts/debian-package.sh" "$suite" linux-libc-dev "$download" || die "$by_hand"
for package in "$download"/linux-libc-dev_*.deb; do
    say "unpacking $(basename "$package") into $out"
    rm -rf "$out/usr"
    dpkg-deb -x "$package" "$out"
done
rm -rf "$download"
is_new_enough "$out/usr/include" || die "its drm/panthor_drm.h is older than uAPI 1.9: $by_hand"
say "$out/usr/include has it now"
