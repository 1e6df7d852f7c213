#!/usr/bin/env bash
# The kernel's own panthor, in User Mode Linux, over a fake GPU of registers (tests/kernel/): see docs/real-kernel.md.

set -euo pipefail

usage() {
  cat <<'USAGE'
usage: scripts/real-kernel.sh [OPTION...] COMMAND

Runs programs on Linux's own panthor driver without a Mali GPU: an unmodified Linux, as an ordinary process, with a
GPU that consists of registers only. No shader ever runs on it; VM_BIND and all that the driver does itself is real.

  build                 makes the kernel: about 4 minutes on two cores, 170 MB to download, 150 MB that stay.
                        Installs what is missing for it with apt
  run PROGRAM ARGS...   runs a program of this machine in it, with the node at /dev/dri/renderD128, in this folder, with
                        this environment, input, output and exit status. Builds the kernel first where there is none.
                        The program may write anywhere, but only what it writes in this folder remains
  shell                 the same, with a shell on this terminal
  test                  runs in it what of this project's tests needs a real node
  clean                 deletes all kernels that were built

Options:
  --linux VERSION       7.3 (default; uAPI 1.9), or 6.12, the kernel of Debian 13 (uAPI 1.0)
  --source TREE         a source tree of your own, for a patch to panthor. It is left as it is and built beside;
                        `build --source TREE` builds again what has changed, `run --source TREE` takes what is built
  --config FILE         more lines for the kernel's configuration (CONFIG_KASAN=y, say)
  --memory SIZE         memory for the program, taken as it is used (default 2G)
  --writable FOLDER     one more folder in which what is written remains; may be given again
  --log FILE            where the kernel's messages go; otherwise they are shown only if something is wrong

Exit status of run: that of the program, 128 and the number of the signal that ended it; 124 if the kernel warned or
failed, with the lines of its log; 125 if it did not come up; 2 if the arguments were not understood.
Kernels are kept in ${XDG_CACHE_HOME:-~/.cache}/panvk-sparse/kernel.
USAGE
}

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
kernel_files=$repo/tests/kernel
cache=${XDG_CACHE_HOME:-$HOME/.cache}/panvk-sparse/kernel

. "$repo/scripts/common.sh"

# --- arguments -------------------------------------------------------------------------------------------------

linux=7.3 tree='' more_config='' memory=2G log='' command=''
writable=()
arguments=("$@")
take_options() { # takes options from the front of "${arguments[@]}"
  while [ ${#arguments[@]} -gt 0 ]; do
    local option=${arguments[0]}
    case $option in
      -h | --help) usage && exit 0 ;;
      --linux | --source | --config | --memory | --writable | --log)
        [ ${#arguments[@]} -gt 1 ] || fail 2 "$option wants a value (see --help)"
        local value=${arguments[1]}
        arguments=("${arguments[@]:2}")
        case $option in
          --linux)
            case $value in 7.3 | 6.12) linux=$value ;; *) fail 2 "--linux $value: 7.3 or 6.12 is wanted" ;; esac
            ;;
          --source)
            tree=$(realpath -m -- "$value")
            [ -f "$tree/drivers/gpu/drm/panthor/panthor_drv.c" ] || fail 2 "--source $value: not a Linux source tree with panthor"
            ;;
          --config) more_config=$(realpath -e -- "$value") || fail 2 "--config $value: no such file" ;;
          --memory) [[ $value =~ ^[0-9]+[MG]$ ]] || fail 2 "--memory $value: a number and M or G is wanted" && memory=$value ;;
          --writable) [ -d "$value" ] || fail 2 "--writable $value: no such folder" && writable+=("$(realpath -e -- "$value")") ;;
          --log) log=$(realpath -m -- "$value") ;;
        esac
        ;;
      -*) fail 2 "unknown option $option (see --help)" ;;
      *) return 0 ;;
    esac
  done
}
take_options
[ ${#arguments[@]} -gt 0 ] || fail 2 "a command is wanted: build, run, shell, test or clean (see --help)"
command=${arguments[0]}
arguments=("${arguments[@]:1}")
take_options
case $command in
  run)
    [ ${#arguments[@]} -gt 0 ] || fail 2 "run wants a program (see --help)"
    program=${arguments[0]}
    [[ $program != */* || -e $program ]] ||
      fail 127 "no such file: $program" "cargo build --release --package panvk-sparse-cli makes target/release/panvk-sparse"
    ;;
  build | shell | test | clean) [ ${#arguments[@]} = 0 ] || fail 2 "$command takes no argument ${arguments[0]} (see --help)" ;;
  *) fail 2 "unknown command $command; there are build, run, shell, test and clean (see --help)" ;;
esac

hash_of() { cat -- "$@" | sha256sum | cut -c 1-12; }
configs=("$kernel_files/config")
[ "$linux" = 7.3 ] || configs+=("$kernel_files/config-$linux")
[ -z "$more_config" ] || configs+=("$more_config")
if [ -n "$tree" ]; then
  kernel=$cache/tree-$(printf '%s' "$tree" | cat - "${configs[@]}" | hash_of)
else
  kernel=$cache/$linux-$(hash_of "${configs[@]}")
fi
guest=$kernel/guest-$(hash_of "$kernel_files"/fakegpu/* "$kernel_files/init.c")

# --- build -----------------------------------------------------------------------------------------------------

# Debian's package holds one archive, of which User Mode Linux needs a third: the rest stays packed.
unpack_source() {
  local download=$work/download suites=(trixie-backports sid '') suite package version
  [ "$linux" = 7.3 ] || suites=(trixie bookworm-backports '')
  for suite in "${suites[@]}"; do
    [ -n "$suite" ] || fail 125 "linux-source-$linux was not to be had." "With a source tree of your own: --source TREE"
    rm -rf "$download"
    "$repo/scripts/debian-package.sh" "$suite" "linux-source-$linux" "$download" && break
  done
  package=$(echo "$download"/*.deb)
  version=$(dpkg-deb -f "$package" Version)
  say "unpacking Linux $version"
  mkdir "$work/source"
  local top=linux-source-$linux except=() folder
  for folder in net media scsi staging infiniband iio accel gpu/drm/amd gpu/drm/i915 gpu/drm/nouveau gpu/drm/xe; do
    except+=(--exclude="$top/drivers/$folder/*/*.[ch]")
  done
  dpkg-deb --fsys-tarfile "$package" | tar -xO "./usr/src/$top.tar.xz" | xz -T0 -dc |
    tar -x -C "$work/source" --strip-components=1 --wildcards "${except[@]}" --exclude="$top/arch/[!ux]*/*.*" \
      --exclude="$top/Documentation/*.*" --exclude="$top/tools/[pt]e*/*" --exclude="$top/sound/*.[ch]"
  rm -rf "$download"
  printf 'Linux %s\n' "$version" >"$work/version"
}

# Shows how far a make is, by the lines that it prints.
progress() { # progress LINES LOG
  local count=0 percent shown=0 step=10 form='    %d %%\n' line
  [ ! -t 2 ] || { step=1 && form='\r    %d %% '; }
  while IFS= read -r line; do
    printf '%s\n' "$line"
    count=$((count + 1))
    percent=$((count * 100 / $1))
    if [ $percent -ge $((shown + step)) ] && [ $percent -lt 100 ]; then
      shown=$percent
      # shellcheck disable=SC2059 # a form of this function's own
      printf "$form" "$percent" >&2
    fi
  done >"$2"
  [ ! -t 2 ] || printf '\r' >&2
}

# Of a processor's floating-point registers Linux 6.12 as a process keeps 2,696 bytes, and does not start where there are
# more (with AMX 11,008). The number is changed in what the compiler makes of it, so that the source stays as it is.
make_room_for_registers() {
  local numbers=arch/x86/um/user-offsets.s
  # shellcheck disable=SC2015,SC2016 # any of these may fail; the dollar is the assembler's
  "${make[@]}" $numbers >>"$work/configuration.log" 2>&1 && grep -q '^\.ascii "->HOST_FP_SIZE ' "$build/$numbers" &&
    sed -i 's/^\.ascii "->HOST_FP_SIZE \S*/.ascii "->HOST_FP_SIZE $1536/' "$build/$numbers" ||
    fail 125 "the room for floating-point registers was not found in $build/$numbers" "$(tail -n 20 "$work/configuration.log")"
}

build_kernel() {
  local source=$1 build=$2 begin=$SECONDS make
  make=(make -C "$source" ARCH=um "O=$build" "-j$(nproc)" KBUILD_BUILD_USER=user KBUILD_BUILD_HOST=host)
  mkdir -p "$build"
  if [ ! -f "$build/.config" ]; then
    say "building the kernel: about 8 minutes of a core's time, on $(nproc) cores"
    {
      "${make[@]}" tinyconfig
      "$source/scripts/kconfig/merge_config.sh" -m -O "$build" "$build/.config" "${configs[@]}"
    } >"$work/configuration.log" 2>&1 || fail 125 "the kernel was not configured:" "$(tail -n 20 "$work/configuration.log")"
  fi
  "${make[@]}" olddefconfig >"$work/configuration.log" 2>&1 ||
    fail 125 "the kernel was not configured:" "$(tail -n 20 "$work/configuration.log")"
  grep -q '^CONFIG_DRM_PANTHOR=y' "$build/.config" || fail 125 "this kernel's configuration does not allow panthor on User Mode Linux"
  [ "$linux" = 7.3 ] || make_room_for_registers
  "${make[@]}" 2>&1 | progress 1367 "$work/build.log" ||
    fail 125 "the kernel was not built; $work/build.log ends with:" "$(grep -B 2 -A 8 -m 3 -i 'error' "$work/build.log" || tail -n 20 "$work/build.log")"
  say "built in $((SECONDS - begin)) s"
}

# The fake GPU, its device tree and firmware, and process 1.
build_guest() {
  local source=$1 build=$2 new=$guest.new
  rm -rf "$new"
  mkdir -p "$new/firmware/arm/mali/arch10.8"
  cp -r "$kernel_files/fakegpu" "$new/module"
  {
    make -C "$source" ARCH=um "O=$build" M="$new/module" &&
      "$build/scripts/dtc/dtc" -q -I dts -O dtb -o "$new/fakegpu.dtb" "$kernel_files/fakegpu/fakegpu.dts" &&
      cc -O1 -o "$new/firmware-maker" "$kernel_files/fakegpu/firmware.c" &&
      "$new/firmware-maker" >"$new/firmware/arm/mali/arch10.8/mali_csffw.bin" &&
      cc -O2 -Wall -static -o "$new/init" "$kernel_files/init.c"
  } >"$kernel/guest.log" 2>&1 || fail 125 "the fake GPU was not built:" "$(tail -n 30 "$kernel/guest.log")"
  mv "$new/module/fakegpu.ko" "$new/"
  rm -rf "$new/module" "$new/firmware-maker" "$kernel"/guest-*[0-9a-f]
  mv "$new" "$guest"
}

# Of sources and objects only what a module's build reads is kept.
keep_for_modules() {
  local source=$1 build=$2
  (
    cd "$source"
    find . -type f \( -name '*.[cSs]' -o -name '*.dts*' -o -name '*.rst' -o -name 'Kconfig*' -o -name '*.rs' \) -not -path './scripts/*' -delete
    rm -rf Documentation drivers fs net sound samples rust lib crypto security mm block
    find . -type d -empty -delete
  )
  find "$build" -type f \( -name '*.o' -o -name '*.a' -o -name '.*.cmd' -o -name 'vmlinux*' \) -not -path '*/scripts/*' -delete
  rm -f "$build/linux"
  find "$build" -type d -empty -delete
}

build() {
  if [ -z "$tree" ] && [ -x "$kernel/linux" ] && [ -d "$guest" ]; then
    [ "$command" != build ] || say "$(cat "$kernel/version") is there already, in $kernel"
    return 0
  fi
  "$repo/scripts/setup.sh" kernel >&2 || exit 125
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  flock -n 9 || { say "waiting for another build" && flock 9; }
  if [ -n "$tree" ]; then
    work=$kernel
    mkdir -p "$work"
    build_kernel "$tree" "$kernel/build"
    cp "$kernel/build/linux" "$kernel/linux"
    printf 'Linux %s of %s\n' "$(cat "$kernel/build/include/config/kernel.release")" "$tree" >"$kernel/version"
    build_guest "$tree" "$kernel/build"
  else
    if [ ! -x "$kernel/linux" ]; then
      work=$kernel
      rm -rf "$work"
      mkdir -p "$work"
      unpack_source
      build_kernel "$work/source" "$work/build"
      strip -o "$work/linux.new" "$work/build/linux"
      keep_for_modules "$work/source" "$work/build"
      mv "$work/linux.new" "$work/linux"
    fi
    [ -d "$guest" ] || build_guest "$kernel/source" "$kernel/build"
  fi
  exec 9>&-
  say "$(cat "$kernel/version") is ready; it takes $(du -sh "$kernel" | cut -f 1) in $kernel"
}

# --- run -------------------------------------------------------------------------------------------------------

# A folder for the machine's memory, which is a file: in memory where there is room, and where programs may be run.
memory_folder() {
  local folder size=${memory%[MG]} try
  case $memory in *G) size=$((size * 1024)) ;; esac
  for folder in /dev/shm "${TMPDIR:-/tmp}" "$cache"; do
    [ -d "$folder" ] || continue
    [ "$(df -m --output=avail "$folder" | tail -n 1)" -gt "$size" ] || continue
    try=$(mktemp "$folder/panvk-sparse.XXXXXX" 2>/dev/null) || continue
    printf '#!/bin/sh\n' >"$try"
    chmod 700 "$try"
    if "$try" 2>/dev/null; then
      rm -f "$try"
      printf '%s\n' "$folder"
      return 0
    fi
    rm -f "$try"
  done
  return 1
}

readonly FAULTS='WARNING:|\bBUG:|Oops|Kernel panic|cut here|INFO: task .* blocked|UBSAN:|KASAN:|refcount_t:|Kernel tried|segfault in kernel'

run_in_kernel() { # run_in_kernel PROGRAM ARGS...: exits with its status
  local run shm folder=$PWD self=$BASHPID uml='' status=0 seen
  if [ ! -d "$guest" ] || [ ! -x "$kernel/linux" ]; then
    fail 125 "there is no kernel of $tree yet: scripts/real-kernel.sh build --source $tree"
  fi
  shm=$(memory_folder) || fail 125 "no folder has $memory free for the machine's memory (tried /dev/shm, ${TMPDIR:-/tmp}, $cache)" \
    "In a container, give it more shared memory (--shm-size), or ask for less: --memory 512M"
  run=$(mktemp -d "/tmp/real-kernel.XXXXXX")
  # shellcheck disable=SC2046,SC2317 # a trap calls it; a word for each process
  clean_up() {
    trap '' INT TERM HUP PIPE
    [ -z "$uml" ] || kill -KILL -- "-$uml" || true
    kill $(jobs -pr) || true
    wait || true
    [ -z "$log" ] || cp "$run/log" "$log" || true
    rm -rf "$run"
  } 2>/dev/null
  pass_on() { # carries a stream; where nobody reads it any more, everything ends
    cat "$run/$1" && return 0
    case $? in 129 | 130 | 143) ;; *) kill -PIPE "$self" ;; esac
  }
  trap clean_up EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 141' PIPE
  trap 'exit 143' TERM

  [ "$folder" = / ] || writable=("$folder" ${writable[@]+"${writable[@]}"})
  {
    printf 'folder=%s\0module=%s\0uid=%s\0gid=%s\0files=%s\0' "$folder" "$guest/fakegpu.ko" "$(id -u)" "$(id -g)" "$(ulimit -n)"
    # shellcheck disable=SC2046 # a word for each group
    printf 'group=%s\0' $(id -G)
    [ ${#writable[@]} = 0 ] || printf 'writable=%s\0' "${writable[@]}"
    [ "$command" != shell ] || printf 'shell=1\0'
  } >"$run/settings"
  env -0 >"$run/environment"
  printf '%s\0' "$@" >"$run/command"
  ln -s "$guest/firmware" "$run/firmware"
  ln -s "$guest/init" "$run/init"
  ln -s "$guest/fakegpu.dtb" "$run/dtb"
  local boot=()
  # Linux 7.3 sees to it itself: where the end of a program's own memory is random, up to 1 GiB in front of the machine's
  # is left free, and the fake GPU's registers could be in that. Without setarch's leave the kernel is tried all the same.
  [ "$linux" = 7.3 ] || ! setarch -R true 2>/dev/null || boot=(setarch -R)
  boot+=("$kernel/linux" "mem=$memory" "dtb=$run/dtb" root=/dev/root rootfstype=hostfs rootflags=/ ro seccomp=auto fw_devlink=off "init=$run/init"
    "RUN=$run" "firmware_class.path=$run/firmware" "uml_dir=$run/" loglevel=7 oops=panic dma_debug=off con=null "con0=null,fd:1")

  ulimit -c 0
  mkfifo "$run/log.pipe"
  cat "$run/log.pipe" >"$run/log" &
  local log_cat=$!
  if [ "$command" = shell ]; then
    local terminal
    terminal=$(stty -g)
    exec 3<&0 4>&1
    TMPDIR=$shm "${boot[@]}" con1=fd:3,fd:4 >"$run/log.pipe" 2>&1 || true
    stty "$terminal"
  else
    mkfifo "$run/in" "$run/in.size" "$run/out" "$run/err"
    # Both ends are held, so that the end of the input is not taken for a terminal that hangs up.
    exec 3<>"$run/in" 6<>"$run/in.size"
    pass_on out 3>&- 6>&- &
    local out_cat=$!
    pass_on err >&2 3>&- 6>&- &
    local err_cat=$!
    # The kernel does not notice what was written before it opened the console, until more comes. So the size is said again
    # until the run is over, for two minutes.
    tee /dev/fd/3 <&0 > >(
      size=$(wc -c)
      for ((said = 0; said < 600; said++)); do
        [ -e "$run" ] && echo "$size" >&6 && sleep 0.2 || break
      done
    ) 2>/dev/null &
    TMPDIR=$shm setsid "${boot[@]}" con1=fd:3,null con2=null,fd:4 con3=null,fd:5 con4=fd:6,null \
      4>"$run/out" 5>"$run/err" >"$run/log.pipe" 2>&1 </dev/null &
    uml=$!
    {
      wait "$uml" || true
      kill -KILL -- "-$uml" || true
    } 2>/dev/null
    uml=''
    wait "$out_cat" "$err_cat" || true
  fi
  wait "$log_cat" || true

  seen=$(sed -n 's/.*real-kernel: exit status \([0-9]*\)\r*$/\1/p' "$run/log" | tail -n 1)
  if grep -qE "$FAULTS" "$run/log"; then
    say "the kernel reported a fault (the program's exit status: ${seen:-none}); its log:"
    grep -E -B 10 -A 40 -m 3 "$FAULTS" "$run/log" | head -n 120 >&2
    exit 124
  fi
  if [ -z "$seen" ]; then
    say "the kernel ended before the program did; its log ends with:"
    tail -n 30 "$run/log" >&2
    exit 125
  fi
  status=$seen
  exit "$status"
}

# --- test ------------------------------------------------------------------------------------------------------

# Runs PROGRAM in the kernel, in the repository, with what tests and examples find in the environment.
in_kernel() { # in_kernel TITLE PROGRAM ARGS...
  printf '\n-- in the kernel: %s\n' "$1"
  shift
  (cd "$repo" && PANVK_SPARSE_TEST_BUILT=1 CARGO_MANIFEST_DIR=$repo/tests run_in_kernel "$@") || {
    say "failed with exit status $?: $*"
    exit 1
  }
}

test_all() {
  local target=${CARGO_TARGET_DIR:-$repo/target} messages tests name stats counters
  target=$(realpath -m -- "$target")
  messages=$target/real-kernel.json
  stats=$target/real-kernel-stats.json
  cd "$repo"
  say "building the tests, the command, the driver and two examples"
  cargo test --locked --workspace --features panvk-sparse-tests/all-pairs --no-run --test real_node --test vpanthor --test icd \
    --message-format json-render-diagnostics >"$messages"
  for name in cli icd; do cargo build --quiet --locked --profile test --package "panvk-sparse-$name"; done
  cargo build --quiet --locked --profile test --example sparse_buffer --example streaming

  for name in real_node vpanthor icd; do
    tests=$(executable_of "$name" <"$messages")
    in_kernel "tests that need a node, of $name" "$tests" --ignored real_node --test-threads=1
  done
  # The other case of the program, any_calls, makes calls that Linux itself warns of.
  cc -O1 -pthread -o "$target/real-kernel-program" tests/vpanthor/node/program.c
  for name in descriptor duplicates maps exports wrong_pointers threads forks dumps; do
    in_kernel "a C program: $name" "$target/real-kernel-program" "$name" /dev/dri/renderD128 </dev/null
  done
  in_kernel "what the kernel can do" "$target/debug/panvk-sparse" probe --kernel auto

  export VK_ICD_FILENAMES=$target/debug/panvk_sparse_icd.json PANVK_SPARSE_KERNEL=auto PANVK_SPARSE_STATS=$stats
  for name in sparse_buffer streaming; do
    rm -f "$stats"
    in_kernel "$name, with the driver over the node" "$target/debug/examples/$name" >"$target/real-kernel.out"
    tail -n 2 "$target/real-kernel.out"
    cat "$stats"
    for counters in '"kernel":"/dev/dri/renderD128"' '"differences":0'; do
      grep -qF "$counters" "$stats" || fail 1 "$name: $counters is not in the counters"
    done
  done
  say "everything passed on $(cat "$kernel/version")"
}

case $command in
  build) build ;;
  run)
    [ -n "$tree" ] || build
    run_in_kernel "${arguments[@]}"
    ;;
  shell)
    [ -t 0 ] || fail 2 "shell wants a terminal; for a program there is run"
    [ -t 1 ] || fail 2 "shell wants a terminal; for a program there is run"
    [ -n "$tree" ] || build
    run_in_kernel "${SHELL:-/bin/sh}" -i
    ;;
  test)
    [ -n "$tree" ] || build
    test_all
    ;;
  clean) rm -rf "$cache" ;;
esac
