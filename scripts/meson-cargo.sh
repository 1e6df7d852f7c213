#!/bin/sh
# Lets meson build with cargo: builds, copies what was asked for into the build folder, and writes a depfile, so that
# `meson install` does not build again where nothing has changed.
#
# usage: meson-cargo.sh DEPFILE CARGO_OUT OUTPUT... -- CARGO ARGUMENT...
#   DEPFILE    what ninja reads afterwards
#   CARGO_OUT  the folder of the profile in cargo's target folder
#   OUTPUT     a file to take from there, as ninja names it (relative to where this runs)

set -eu

depfile=$1
from=$2
shift 2
outputs=
first=$1
while [ "$1" != -- ]; do
  outputs="$outputs $1"
  shift
done
shift

"$@"

printf '%s: ' "$first" >"$depfile"
for output in $outputs; do
  name=${output##*/}
  # Not over the old file: a program that is running it, or has mapped it, keeps what it has.
  cp -f "$from/$name" "$output.new"
  mv -f "$output.new" "$output"
  # Cargo's own depfile: `<library>: <source> <source> ...`, for a command without the ending.
  sed -n 's/^[^:]*: *//p' "$from/${name%.*}.d" | tr '\n' ' ' >>"$depfile"
done
printf '\n' >>"$depfile"
