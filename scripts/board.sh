#!/usr/bin/env bash
# An unmodified panvk for arm64, as on a board, with this project's driver in front of it: see docs/board.md.

set -euo pipefail

usage() {
  cat <<'USAGE'
usage: scripts/board.sh [OPTION...] COMMAND

Runs arm64 programs on this machine with Debian's own panvk for Arm Mali, unmodified, over a virtual Mali: emulated by
qemu-user, with this project's driver in front of that panvk, as a board owner has it. Nothing of the machine's own Mesa
changes, and no foreign architecture is added to it. The virtual Mali runs no shaders, but takes each bind as the kernel would.

  build                 unpacks Debian's panvk for arm64 with all that it needs (60 MB to download, 200 MB that stay), and
                        builds our driver and the virtual Mali for arm64. Installs what is missing for it with apt. Prints
                        how programs are run
  run PROGRAM ARGS...   runs an arm64 program with our driver in front of panvk; builds them first if they are not there.
                        vulkaninfo is there by its name
  where                 prints how programs are run
  test                  runs this project's tests that need it
  clean                 deletes everything that was unpacked here

Options:
  --mesa VERSION        the panvk of this version of Mesa: 26.1.6 unless said otherwise; what Debian's archive has now can be had
  --alone               with run: panvk alone, without our driver

Environment: VPANTHOR names the virtual Mali's kernel (1.9,gpu=g610 if it is not set).

Exit status of run: that of the program; 125 if something could not be built; 2 if the arguments were not understood.
Of test: 0 all passed, 77 skipped because something was not to be had, which is said.
What was unpacked is kept in ${XDG_CACHE_HOME:-~/.cache}/panvk-sparse/board.
USAGE
}

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/panvk-sparse/board

. "$repo/scripts/common.sh"

# --- arguments -------------------------------------------------------------------------------------------------

mesa=26.1.6
alone=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage && exit 0 ;;
    --mesa)
      [ $# -gt 1 ] || fail 2 "--mesa wants a value (see --help)"
      [[ $2 =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || fail 2 "--mesa $2: a version such as 26.1.6 is wanted"
      mesa=$2
      shift 2
      ;;
    --alone) alone=1 && shift ;;
    -*) fail 2 "unknown option $1 (see --help)" ;;
    *) break ;;
  esac
done
take_command "$@"
shift
[ -z "$alone" ] || [ "$command" = run ] || fail 2 "--alone goes with run (see --help)"

readonly target=aarch64-unknown-linux-gnu
readonly PACKAGES=(libvulkan1 vulkan-tools)
# Where Debian has which Mesa, the last of each entry first.
readonly SUITES=("trixie trixie-backports" sid trixie)
hash=$(printf '%s ' "${PACKAGES[@]}" | sha256sum | cut -c 1-12)
folder_of() { printf '%s\n' "$cache/$1-$hash"; }
manifest_of() { printf '%s\n' "$(folder_of "$1")/usr/share/vulkan/icd.d/panfrost_icd.json"; }
built=$(realpath -m -- "${CARGO_TARGET_DIR:-$repo/target}")/$target/release
# What cargo needs to know.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc

# --- build -----------------------------------------------------------------------------------------------------

# Unpacks packages for arm64 of the first suite that has them.
unpack() { # unpack FOLDER PACKAGE...
  local folder=$1 download=$1.download suites package found=''
  shift
  for suites in "${SUITES[@]}"; do
    rm -rf "$download"
    "$repo/scripts/debian-package.sh" --whole arm64 "$suites" "$*" "$download" && found=1 && break
  done
  [ -n "$found" ] || return 1
  rm -rf "$folder.new"
  mkdir -p "$folder.new"
  for package in "$download"/*.deb; do dpkg-deb -x "$package" "$folder.new"; done
  rm -rf "$download"
  ln -sfn usr/lib "$folder.new/lib"
  # Only panvk is wanted, which needs no LLVM.
  find "$folder.new/usr/lib/aarch64-linux-gnu" \( -name 'libvulkan_*.so' -not -name libvulkan_panfrost.so -o -name 'libLLVM*' \
    -o -name 'libVkLayer*' -o -name gconv \) -prune -exec rm -rf {} +
  find "$folder.new/usr/share/vulkan" -name '*.json' -not -name panfrost_icd.json -delete
  rm -rf "$folder.new/usr/share/doc" "$folder.new/usr/share/locale"
  mv "$folder.new" "$folder"
}

# The standard library of Debian's own Rust for arm64; rustup's lies beside its compiler.
find_arm64_std() {
  local version std
  [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ] || return 0
  version=$(dpkg-query -W -f '${Version}\n' rustc 2>/dev/null) && [ "$(command -v rustc)" = /usr/bin/rustc ] ||
    { say "there is no standard library for $target beside $(command -v rustc)" && return 1; }
  std=$cache/rust-${version//[^0-9a-z.+-]/-}
  [ -d "$std" ] || unpack "$std" "libstd-rust-dev=$version" || { say "libstd-rust-dev $version was not to be had for arm64" && return 1; }
  # A sysroot for what is built for arm64; what cargo runs while it builds is for this machine.
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="--sysroot=$std/usr"
}

build_arm64() { # build_arm64 ARGS...: cargo build
  (cd "$repo" && cargo build --quiet --locked --release --target $target "$@")
}

# Says what was not to be had, and fails then.
get() { # get VERSION...
  local version
  "$repo/scripts/setup.sh" board >&2 || { say "what this needs could not be installed" && return 1; }
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  flock -n 9 || { say "waiting for another build" && flock 9; }
  find_arm64_std || return 1
  for version in "$@"; do
    [ ! -d "$(folder_of "$version")" ] || continue
    unpack "$(folder_of "$version")" "mesa-vulkan-drivers=$version-*" "${PACKAGES[@]}" ||
      { say "no suite of Debian has panvk $version for arm64 now (asked: ${SUITES[*]})" && return 1; }
    say "panvk $version for arm64 takes $(du -sh "$(folder_of "$version")" | cut -f 1) in $(folder_of "$version")"
  done
  exec 9>&-
}

build() {
  get "$mesa" || exit 125
  say "building our driver and the virtual Mali for arm64"
  build_arm64 --package panvk-sparse-icd --package vpanthor-preload || fail 125 "they were not built; cargo's messages are above"
}

is_built() { [ -d "$(folder_of "$mesa")" ] && [ -f "$built/panvk_sparse_icd.json" ] && [ -f "$built/libvpanthor_preload.so" ]; }

# --- run -------------------------------------------------------------------------------------------------------

# The words of the command that runs a program. The emulator itself must not load what is arm64.
emulator() {
  local manifest
  manifest=$(manifest_of "$mesa")
  printf '%s\n' env "VPANTHOR=${VPANTHOR:-1.9,gpu=g610}"
  if [ -z "$alone" ]; then
    printf '%s\n' "PANVK_SPARSE_BASE_ICD=$manifest"
    manifest=$built/panvk_sparse_icd.json
  fi
  printf '%s\n' "VK_ICD_FILENAMES=$manifest" "VK_DRIVER_FILES=$manifest" qemu-aarch64 -L "$(folder_of "$mesa")" \
    -E "LD_PRELOAD=$built/libvpanthor_preload.so"
}

run() {
  local words program=$1
  shift
  is_built || build
  mapfile -t words < <(emulator)
  case $program in */*) ;; *) [ ! -x "$(folder_of "$mesa")/usr/bin/$program" ] || program=$(folder_of "$mesa")/usr/bin/$program ;; esac
  exec "${words[@]}" "$program" "$@"
}

where() {
  local words
  is_built || fail 125 "there is nothing yet: scripts/board.sh --mesa $mesa build"
  mapfile -t words < <(emulator)
  printf '%s PROGRAM\n' "${words[*]}"
}

# --- test ------------------------------------------------------------------------------------------------------

# The last has no sparse binding.
readonly TESTED=(26.1.6 26.2.6 25.0.7)
test_all() {
  local messages tests version filter have=()
  for version in "${TESTED[@]}"; do
    get "$version" && have+=("$version") || say "no tests with panvk $version"
  done
  [ ${#have[@]} -gt 0 ] || { say "SKIPPED: nothing of this was to be had; the reasons are above" && exit 77; }
  cd "$repo"
  say "building the driver, the virtual Mali, a layer, a driver for tests, two examples and the tests for arm64"
  build_arm64 --package panvk-sparse-icd --package vpanthor-preload --package panvk-sparse-trace-layer --package panvk-sparse-dump-driver
  build_arm64 --package panvk-sparse-tests --example sparse_buffer --example streaming
  messages=$(cargo test --locked --release --target $target --package panvk-sparse-tests --no-run --test component \
    --message-format json-render-diagnostics)
  tests=$(executable_of component <<<"$messages")
  for version in "${have[@]}"; do
    say "with panvk $version"
    case $version in 25.*) filter=without_sparse ;; *) filter=board_ ;; esac
    # They are arm64 code, as what they start is: nothing is built twice.
    PANVK_SPARSE_TEST_BOARD=$(folder_of "$version") PANVK_SPARSE_TEST_BOARD_MESA=$version PANVK_SPARSE_TEST_BOARD_TESTS=$tests \
      qemu-aarch64 -L "$(folder_of "$version")" "$tests" --ignored "$filter"
  done
  say "everything passed with panvk ${have[*]}"
}

case $command in
  build) build && where ;;
  test) test_all ;;
  run) run "$@" ;;
  where) where ;;
  clean) rm -rf "$cache" ;;
esac
