#!/usr/bin/env bash
# Mesa's panvk with the component in it: see docs/panvk.md.

set -euo pipefail

usage() {
  cat <<'USAGE'
usage: scripts/panvk.sh [OPTION...] COMMAND

Builds panvk, Mesa's Vulkan driver for Arm Mali, with sparse binding by this project's component. Nothing of the machine's own
Mesa changes: the new driver is used only by programs that are told to.

  build                 takes the source of Mesa 25.0.7 as Debian has it, puts the component in and builds panvk alone: about
                        10 minutes on two cores the first time, 45 MB to download, 450 MB that stay. Afterwards only what has
                        changed is built. Installs what is missing for it with apt. Prints how programs get the driver
  run PROGRAM ARGS...   runs a program with it; builds it first if it is not there. Without a Mali that panthor drives, the
                        program gets a virtual one, which runs no shaders
  where                 prints how programs get the driver
  test                  runs this project's tests that need the driver: on the virtual Mali, and on Linux's own panthor
                        (scripts/real-kernel.sh)
  clean                 deletes everything that was built here

Options:
  --source TREE         a source tree of Mesa 25.0 of your own. It is left as it is; a copy is built

Environment: VPANTHOR, if it is set, makes `run` use the virtual Mali, with the kernel that it names (1.9,gpu=g610 otherwise).

Exit status of run: that of the program; 125 if the driver was not built; 2 if the arguments were not understood.
Drivers are kept in ${XDG_CACHE_HOME:-~/.cache}/panvk-sparse/mesa.
USAGE
}

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/panvk-sparse/mesa

. "$repo/scripts/common.sh"

# --- arguments -------------------------------------------------------------------------------------------------

readonly mesa=25.0.7
tree=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage && exit 0 ;;
    --source)
      [ $# -gt 1 ] || fail 2 "--source wants a value (see --help)"
      tree=$(realpath -m -- "$2")
      [ -f "$tree/src/panfrost/vulkan/meson.build" ] || fail 2 "--source $2: not a source tree of Mesa with panvk"
      shift 2
      ;;
    -*) fail 2 "unknown option $1 (see --help)" ;;
    *) break ;;
  esac
done
take_command "$@"
shift

readonly OPTIONS=(-Dbuildtype=release -Db_ndebug=true -Dvulkan-drivers=panfrost -Dgallium-drivers= "-Dplatforms=x11,wayland"
  -Dopengl=false -Dgles1=disabled -Dgles2=disabled -Degl=disabled -Dglx=disabled -Dgbm=disabled -Dglvnd=disabled
  -Dllvm=enabled -Dvideo-codecs= -Dzstd=disabled)
hash=$(printf '%s ' "$tree" "${OPTIONS[@]}" | sha256sum | cut -c 1-12)
folder=$cache/$([ -n "$tree" ] && echo tree || echo "$mesa")-$hash
source=$folder/source
build=$folder/build
archive=$folder/libpanvk_sparse_c.a
vulkan=src/panfrost/vulkan
manifest=$build/$vulkan/panfrost_devenv_icd.$(uname -m).json

# --- build -----------------------------------------------------------------------------------------------------

unpack_source() {
  local download=$folder/download suites=(trixie bookworm-backports '') suite patches
  for suite in "${suites[@]}"; do
    [ -n "$suite" ] || fail 125 "the source of Mesa $mesa was not to be had." "With a source tree of your own: --source TREE"
    rm -rf "$download"
    "$repo/scripts/debian-package.sh" --source "$suite" mesa "$download" && [ -f "$download/mesa_$mesa.orig.tar.xz" ] && break
  done
  say "unpacking $(basename "$download"/*.dsc .dsc), with Debian's patches"
  rm -rf "$source.new"
  mkdir -p "$source.new" "$folder/debian"
  tar -xJf "$download/mesa_$mesa.orig.tar.xz" -C "$source.new" --strip-components=1
  tar -xJf "$download"/mesa_*.debian.tar.xz -C "$folder/debian" --strip-components=1
  patches=$folder/debian/patches
  sed 's/[ \t]*#.*//; /^$/d' "$patches/series" | while IFS= read -r name; do
    patch -s -p1 -d "$source.new" <"$patches/$name" >&2 || fail 125 "Debian's patch $name does not apply"
  done
  rm -rf "$download" "$folder/debian"
  mv "$source.new" "$source"
}

copy_tree() {
  say "copying $tree"
  mkdir -p "$source"
  # Times are kept, so that only what has changed is built.
  tar -C "$tree" --exclude=.git -cf - . | tar -C "$source" -xf -
}

# Shows how far ninja is, by the lines that it prints.
progress() { # progress LOG
  local line shown=0 step=10 form='    %d %%\n' percent
  [ ! -t 2 ] || { step=1 && form='\r    %d %% '; }
  while IFS= read -r line; do
    printf '%s\n' "$line"
    [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]] || continue
    percent=$((BASH_REMATCH[1] * 100 / BASH_REMATCH[2]))
    if [ "$percent" -ge $((shown + step)) ] && [ "$percent" -lt 100 ]; then
      shown=$percent
      # shellcheck disable=SC2059 # a form of this function's own
      printf "$form" "$percent" >&2
    fi
  done >"$1"
  [ ! -t 2 ] || printf '\r' >&2
}

configure() {
  local llvm native=$folder/native.ini
  # libclc and the translator are of the same version as LLVM.
  llvm=$(pkg-config --modversion LLVMSPIRVLib) && llvm=/usr/lib/llvm-${llvm%%.*}/bin
  [ -x "$llvm/llvm-config" ] || fail 125 "there is no $llvm/llvm-config, which belongs to the installed translator to SPIR-V"
  printf '[binaries]\nllvm-config = '\''%s'\''\npython3 = '\''/usr/bin/python3'\''\n' "$llvm/llvm-config" >"$native"
  # One that failed half-way is begun again.
  [ -f "$build/build.ninja" ] || rm -rf "$build"
  [ -d "$build" ] || PATH=$llvm:$PATH meson setup "$build" "$source" --native-file "$native" "${OPTIONS[@]}" >"$folder/configuration.log" 2>&1 ||
    fail 125 "Mesa was not configured; $folder/configuration.log ends with:" "$(tail -n 20 "$folder/configuration.log")"
}

build_component() {
  local target=${CARGO_TARGET_DIR:-$repo/target} built
  (cd "$repo" && cargo build --quiet --locked --profile component --package panvk-sparse-c) ||
    fail 125 "the component was not built; cargo's messages are above"
  built=$(cd "$repo" && realpath -- "$target")/component/libpanvk_sparse_c.a
  cmp -s "$built" "$archive" && return 0
  cp "$built" "$archive.new"
  mv "$archive.new" "$archive"
  # ninja does not know that the driver is linked with it.
  rm -f "$build/$vulkan/libvulkan_panfrost.so"
}

build() {
  local begin
  "$repo/scripts/setup.sh" panvk >&2 || exit 125
  mkdir -p "$folder"
  exec 9>"$cache/lock"
  flock -n 9 || { say "waiting for another build" && flock 9; }
  build_component
  if [ -n "$tree" ]; then
    copy_tree
  elif [ ! -d "$source" ]; then
    unpack_source
  fi
  "$repo/mesa/panvk/hook.py" "$source" "$archive" >&2 || exit 125
  begin=$SECONDS
  if [ ! -f "$manifest" ]; then
    say "building panvk: about 20 minutes of a core's time, on $(nproc) cores"
  fi
  configure
  ninja -C "$build" "$vulkan/libvulkan_panfrost.so" "${manifest#"$build/"}" 2>&1 | progress "$folder/build.log" ||
    fail 125 "panvk was not built; $folder/build.log has:" "$(grep -A 12 -m 2 'FAILED\|error:' "$folder/build.log" || tail -n 20 "$folder/build.log")"
  printf 'Mesa %s\n' "$(cat "$source/VERSION")" >"$folder/version"
  exec 9>&-
  say "$(cat "$folder/version") with sparse binding is ready ($((SECONDS - begin)) s); it takes $(du -sh "$folder" | cut -f 1) in $folder"
}

is_built() { [ -f "$folder/version" ] && [ -f "$build/$vulkan/libvulkan_panfrost.so" ] && [ -f "$manifest" ]; }

where() {
  is_built || fail 125 "there is no driver yet: scripts/panvk.sh ${tree:+--source $tree }build"
  printf 'VK_ICD_FILENAMES=%s\n' "$manifest"
}

# --- run -------------------------------------------------------------------------------------------------------

has_panthor() {
  local driver
  for driver in /sys/class/drm/renderD*/device/driver; do
    [ "$(basename "$(readlink "$driver" 2>/dev/null)" 2>/dev/null)" = panthor ] && return 0
  done
  return 1
}

run() {
  local target=${CARGO_TARGET_DIR:-$repo/target}
  is_built || build
  export VK_ICD_FILENAMES=$manifest VK_DRIVER_FILES=$manifest
  if [ -n "${VPANTHOR:-}" ] || ! has_panthor; then
    (cd "$repo" && cargo build --quiet --locked --release --package vpanthor-preload) ||
      fail 125 "the virtual node was not built; cargo's messages are above"
    target=$(cd "$repo" && realpath -- "$target")
    export VPANTHOR=${VPANTHOR:-1.9,gpu=g610} LD_PRELOAD=$target/release/libvpanthor_preload.so${LD_PRELOAD:+:$LD_PRELOAD}
  fi
  exec "$@"
}

# --- test ------------------------------------------------------------------------------------------------------

test_all() {
  local tests messages
  cd "$repo"
  messages=$(cargo test --locked --workspace --no-run --test component --message-format json-render-diagnostics)
  tests=$(executable_of component <<<"$messages")
  export PANVK_SPARSE_TEST_PANVK=$manifest
  say "on the virtual Mali"
  cargo test --locked --workspace --test component -- --ignored --skip linux_itself panvk::
  say "on Linux's own panthor"
  # Our programs call timeline semaphores by their names in Vulkan 1.2; this driver has them as an extension.
  "$repo/scripts/real-kernel.sh" run env "VK_ICD_FILENAMES=$manifest" "VK_DRIVER_FILES=$manifest" MESA_VK_VERSION_OVERRIDE=1.3 \
    "$tests" --ignored panvk_binds_what_is_asked_for_on_linux_itself --test-threads=1
  say "everything passed with $(cat "$folder/version")"
}

case $command in
  build) build && where ;;
  test) build && test_all ;;
  run) run "$@" ;;
  where) where ;;
  clean) rm -rf "$cache" ;;
esac
