#!/usr/bin/env bash
# From a fresh clone to panvk-sparse at work: set-up, build, what Vulkan reports, programs that use it, the comparison.

set -euo pipefail
cd "$(dirname "$0")"

case ${1-} in
  '') ;;
  -h | --help)
    cat <<'USAGE'
usage: ./demo.sh

Shows panvk-sparse on this machine; no GPU is needed. It
  1. checks what the machine needs and installs with apt what is missing (see scripts/setup.sh --help)
  2. builds the Vulkan driver, the recording layer, the command and two examples, in release mode
  3. shows the sparse part of what vulkaninfo reports under the driver
  4. runs a program that binds, rebinds and unbinds a sparse buffer and checks the data with a shader,
     on a kernel without repeated mappings and on one with them
  5. compares what a sparse buffer of 100,000,000 bytes costs with each strategy, and plots it
  6. records a program that streams a virtual texture, and replays the recording on every kernel

Less than 10 minutes on two idle cores from a fresh clone, nearly all of it for the build, which takes 740 MB in target/; seconds when everything
is built.
USAGE
    exit 0
    ;;
  *)
    printf './demo.sh: unknown argument "%s"; it takes none (see ./demo.sh --help)\n' "$1" >&2
    exit 2
    ;;
esac

step=0
title() {
  step=$((step + 1))
  printf '\n== %d. %s\n\n' "$step" "$*"
}

target=${CARGO_TARGET_DIR:-$PWD/target}/release
manifest=$target/panvk_sparse_icd.json
layer=$target/VkLayer_panvk_sparse_trace.json
command=$target/panvk-sparse
plot=$PWD/target/compare.svg
mkdir -p target

# The demonstration shows the defaults, whatever the caller's shell has set; the base driver stays the caller's choice.
unset PANVK_SPARSE_KERNEL PANVK_SPARSE_NULL PANVK_SPARSE_STATS VK_ICD_FILENAMES VK_DRIVER_FILES VK_ADD_DRIVER_FILES

title "What this machine needs"
scripts/setup.sh run

title "Build: the driver, the recording layer, the command, two examples (release): nearly all of the time that this takes"
# An option that names an example leaves out all that is not named: so name the libraries and the command too.
cargo build --release --locked --package panvk-sparse-icd --package panvk-sparse-trace-layer --package panvk-sparse-cli \
  --package panvk-sparse-tests --lib --bins --example sparse_buffer --example streaming

title "What Vulkan reports under the driver: the sparse part of vulkaninfo"
export VK_ICD_FILENAMES=$manifest
printf '$ VK_ICD_FILENAMES=%s vulkaninfo\n\n' "$manifest"
# Without a display vulkaninfo complains on stderr and goes on, so its complaints are only shown if it fails.
complaints=$PWD/target/vulkaninfo.stderr
if ! info=$(vulkaninfo 2>"$complaints"); then
  cat "$complaints" >&2
  printf '\n./demo.sh: vulkaninfo failed under the driver; what it said is above\n' >&2
  exit 1
fi
# A here-string: a pipe into grep could end vulkaninfo early, which would count as a failure.
grep -E '^[[:space:]]*(deviceName|driverInfo|sparse(Binding|Residency|AddressSpace)[A-Za-z0-9]*|residency[A-Za-z0-9]*)[[:space:]]*=|queueFlags.*SPARSE' <<<"$info" |
  sed -E 's/^[[:space:]]+//; s/[[:space:]]*=[[:space:]]*/ = /' | awk '!seen[$0]++ { split($0, part, " = "); printf "%-40s = %s\n", part[1], part[2] }'

stats=$PWD/target/demo-stats.json
sparse_buffer() { # sparse_buffer KERNEL STRATEGY: the program's verdict, and what the kernel was asked to do
  rm -f "$stats"
  PANVK_SPARSE_KERNEL=$1 PANVK_SPARSE_NULL=$2 PANVK_SPARSE_STATS=$stats "$target/examples/sparse_buffer"
  printf '\nWhat the kernel was asked to do (PANVK_SPARSE_STATS):\n'
  cat "$stats"
  ops=$(sed -n 's/.*"vm_bind_ops":\([0-9]*\).*/\1/p' "$stats")
}

title "A program that uses a sparse buffer, on a kernel without repeated mappings: an operation for each page"
sparse_buffer vpanthor:1.8 page
page_ops=$ops

title "The same program, on a kernel with repeated mappings"
sparse_buffer vpanthor:1.8-repeat auto
printf '\nVM_BIND operations of the whole program: %s, and %s before.\n' "$ops" "$page_ops"

title "What a new sparse buffer of 100,000,000 bytes costs, strategy by strategy"
"$command" probe --kernel vpanthor:1.8-repeat
printf '\nThe driver binds a buffer in pieces of 64 KiB at least, as above; the comparison below has pieces of 4 KiB, so that here a
repeated mapping repeats 4 KiB. Times of the kernel are estimates (docs/performance.md).\n\n'
"$command" compare --bytes 100000000 --kernel vpanthor:1.8-repeat --plot "$plot"

title "A virtual texture is streamed, a layer records it, and the recording is replayed on every kernel"
recording=$PWD/target/demo.pvst
rm -f "$recording"
printf '$ VK_ICD_FILENAMES=%s VK_LAYER_PATH=%s VK_INSTANCE_LAYERS=VK_LAYER_PANVK_sparse_trace PANVK_SPARSE_TRACE_FILE=%s %s\n\n' \
  "$manifest" "$layer" "$recording" "$target/examples/streaming"
VK_LAYER_PATH=$layer VK_INSTANCE_LAYERS=VK_LAYER_PANVK_sparse_trace PANVK_SPARSE_TRACE_FILE=$recording \
  "$target/examples/streaming" | tail -n 3
printf '\n$ %s replay %s\n\n' "$command" "$recording"
"$command" replay "$recording" --plot "$PWD/target/replay.svg" --map "$PWD/target/residency.svg"

title "What to try next"
cat <<NEXT
  Your own application, unchanged, with counters:
      VK_ICD_FILENAMES=$manifest PANVK_SPARSE_STATS=stderr your-application
  The same on your machine's own Vulkan driver, recorded, and replayed on every kernel:
      VK_LAYER_PATH=$layer VK_INSTANCE_LAYERS=VK_LAYER_PANVK_sparse_trace PANVK_SPARSE_TRACE_FILE=app.pvst your-application
      $command replay app.pvst
  Another kernel, another scenario, as JSON:
      $command compare --kernel vpanthor:1.9 --scenario rebind --json
  What the probe tried, and what the kernel said:
      $command probe --kernel vpanthor:1.8
  The plots:
      $plot, target/replay.svg, target/residency.svg
  Everything else:
      $command --help, and README.md
NEXT
