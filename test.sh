#!/usr/bin/env bash
# Everything that must hold before a change is taken: formatting, lints, documentation, all tests, and that the fuzz targets compile.

set -euo pipefail
cd "$(dirname "$0")"

features=()
case ${1-} in
  '') ;;
  --all) features=(--features panvk-sparse-tests/all-pairs) ;;
  -h | --help)
    cat <<'USAGE'
usage: ./test.sh [--all]

Runs every check of panvk-sparse, in this order, and stops at the first that fails:
  set-up (scripts/setup.sh test), the kernel's panthor header for the comparison of structs,
  cargo fmt --check, clippy (of benchmarks, too) and rustdoc without warnings, all tests, fuzz targets compile.

  --all   also runs the Vulkan cases on those pairs of a kernel and a null strategy that ask the same of the kernel as
          another pair does, about two minutes more; and what needs a real node on Linux's own panthor in User Mode
          Linux, about three minutes more, and six the first time (scripts/real-kernel.sh); and Mesa's panvk with the
          component, half a minute more, and ten the first time (scripts/panvk.sh), on Debian 12 and 13; and Debian's panvk
          for arm64, under qemu-user, with the driver in front of it, ten minutes (scripts/board.sh), which is skipped with a reason if
          that panvk, the emulator or a compiler for arm64 is not to be had

The header (drm/panthor_drm.h, uAPI 1.9) comes from /usr/include where that is new enough, else from a Debian
package that is only unpacked; PANVK_SPARSE_UAPI_INCLUDE=FOLDER names another one (the folder that holds drm/).

No GPU is needed. Less than 20 minutes on two cores from a fresh clone.
The last line says whether everything passed.
USAGE
    exit 0
    ;;
  *)
    printf './test.sh: unknown argument "%s"; it takes --all or none (see ./test.sh --help)\n' "$1" >&2
    exit 2
    ;;
esac

step=0
title="start"
started=$SECONDS
run() { # run TITLE COMMAND...
  step=$((step + 1))
  title=$1
  shift
  printf '\n== %d. %s\n    $ %s\n\n' "$step" "$title" "$*"
  local begin=$SECONDS
  "$@"
  printf '\n    ok: %s (%d s)\n' "$title" $((SECONDS - begin))
}
trap 'status=$?; [ $status = 0 ] || printf "\ntest.sh: FAILED in step %d: %s (exit status %d)\n" "$step" "$title" "$status"' EXIT

# The tests choose their kernels, strategies and drivers themselves; the base driver stays the caller's choice.
unset PANVK_SPARSE_KERNEL PANVK_SPARSE_NULL PANVK_SPARSE_STATS PANVK_SPARSE_LOG PANVK_SPARSE_PROFILE PANVK_SPARSE_DUMMY
unset PANVK_SPARSE_TRACE PANVK_SPARSE_TRACE_FILE PANVK_SPARSE_TRACE_LIMIT VK_LAYER_PATH VK_LOADER_LAYERS_ENABLE VPANTHOR VPANTHOR_DUMP
unset VK_ICD_FILENAMES VK_DRIVER_FILES VK_ADD_DRIVER_FILES VK_INSTANCE_LAYERS

board() {
  scripts/board.sh test && return 0
  # It has said what could not be had.
  [ $? = 77 ] && printf '\n    skipped: %s\n' "$title"
}

run "What this machine needs" scripts/setup.sh test
# Who brings a header of uAPI 1.9 along needs no download of one.
[ -n "${PANVK_SPARSE_UAPI_INCLUDE:-}" ] || run "The kernel's own panthor header" scripts/uapi-header.sh
run "Formatting" cargo fmt --all --check
run "Lints" cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
run "Documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
run "Tests" cargo test --locked --workspace ${features[@]+"${features[@]}"}
[ ${#features[@]} = 0 ] || run "The real panthor, in User Mode Linux" scripts/real-kernel.sh test
# Mesa 25.0 is built with the LLVM that these have.
case $(. /etc/os-release 2>/dev/null && printf '%s' "${VERSION_CODENAME:-}") in
  bookworm | trixie) [ ${#features[@]} = 0 ] || run "Mesa's panvk with the component" scripts/panvk.sh test ;;
esac
[ ${#features[@]} = 0 ] || run "Debian's panvk for arm64, with the driver in front" board
# The lints have compiled the benchmarks for `./test.sh` alone.
[ ${#features[@]} = 0 ] || run "Benchmarks are built" cargo bench --locked --workspace --no-run
run "Fuzz targets compile" cargo check --locked --manifest-path fuzz/Cargo.toml

printf '\ntest.sh: all %d steps passed in %d s\n' "$step" $((SECONDS - started))
