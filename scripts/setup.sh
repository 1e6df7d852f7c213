#!/usr/bin/env bash
# What the machine needs before anything is built: checks each thing, and installs with apt only what is missing.
# demo.sh and test.sh call it; it can be run alone, and any number of times.

set -euo pipefail

usage() {
  cat <<'USAGE'
usage: scripts/setup.sh [run|test|kernel|panvk|board]

Checks that this machine has what panvk-sparse needs, and installs what is missing with apt.

  run    (default) a Rust toolchain, a C linker, the Vulkan loader, vulkaninfo, and Mesa's
         lavapipe from Mesa 25.0 or later
  test   the same, and rustfmt, clippy, a C++ compiler, the Vulkan validation layer,
         meson, pkg-config and drmdevice
  kernel  what building Linux takes (scripts/real-kernel.sh): a C compiler, make, flex, bison, bc, xz
  panvk  what building Mesa's panvk takes (scripts/panvk.sh): Rust, C and C++ compilers, meson, LLVM and clang with
         libclc and the SPIR-V translator, Python modules, and headers of libdrm, X11 and Wayland
  board  what building for arm64 and running it takes (scripts/board.sh): Rust, a linker for arm64 and qemu-user; where
         Rust is rustup's, its standard library for arm64

Nothing missing: apt is not called. Otherwise root or sudo is needed, and the packages and the
reason for each are printed first. On Debian 12, whose own Mesa is too old, the suite
bookworm-backports is added to apt's sources, from the mirror that the machine already uses.
USAGE
}

readonly MESA_NEEDED=25.0
readonly BACKPORTS_FILE=/etc/apt/sources.list.d/panvk-sparse-bookworm-backports.sources
readonly RUST_NEEDED=1.85

say() { printf '    %s\n' "$*"; }
fail() {
  printf '\nset-up failed: %s\n' "$1" >&2
  shift
  for line in "$@"; do printf '  %s\n' "$line" >&2; done
  exit 1
}

# version_at_least HAVE WANT: compares dotted numbers; an epoch and everything after the numbers is ignored.
version_at_least() {
  local have=${1#*:}
  have=${have%%[^0-9.]*}
  [ "$(printf '%s\n%s\n' "$2" "$have" | sort -V | head -n 1)" = "$2" ]
}

# --- what is there ---------------------------------------------------------------------------------------------

has_c_compiler() {
  command -v cc >/dev/null || return 1
  # The compiler without the C library's headers is not enough: Debian packages the two apart.
  printf '#include <stdio.h>\nint main(void) { return 0; }\n' | cc -x c -o /dev/null - 2>/dev/null
}

# The linker cache is read from the tool's usual place too: /sbin is not on every user's PATH.
has_vulkan_loader() {
  PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | grep 'libvulkan\.so\.1' >/dev/null
}

# vulkan_file KIND PATTERN: the first matching manifest in the loader's usual folders.
vulkan_file() {
  local dir file
  for dir in /usr/local/etc /usr/local/share /etc /usr/share; do
    for file in "$dir"/vulkan/"$1"/$2; do
      if [ -e "$file" ]; then
        printf '%s\n' "$file"
        return 0
      fi
    done
  done
  return 1
}

# Prints the version of the installed Mesa Vulkan drivers, or nothing.
mesa_version() {
  local manifest owner
  manifest=$(vulkan_file icd.d 'lvp_icd*.json') || return 0
  if command -v dpkg-query >/dev/null && owner=$(dpkg-query -S "$manifest" 2>/dev/null); then
    dpkg-query -W -f '${Version}\n' "${owner%%: *}" 2>/dev/null | head -n 1
  elif command -v vulkaninfo >/dev/null; then
    # Not from a Debian package: let the driver say it itself ("driverInfo = Mesa 25.0.7 (LLVM ...)").
    VK_ICD_FILENAMES=$manifest vulkaninfo --summary 2>/dev/null |
      sed -n 's/.*driverInfo *= *Mesa \([0-9.]*\).*/\1/p' | head -n 1
  fi
}

has_lavapipe() {
  local version
  version=$(mesa_version)
  [ -n "$version" ] && version_at_least "$version" "$MESA_NEEDED"
}

# --- what is missing -------------------------------------------------------------------------------------------

packages=()
need() { # need PACKAGE... -- REASON
  local names=()
  while [ "$1" != -- ]; do
    names+=("$1")
    shift
  done
  say "missing: $2 (${names[*]})"
  packages+=("${names[@]}")
}

check_rust() {
  command -v cargo >/dev/null || fail "cargo was not found." \
    "panvk-sparse is built with a Rust toolchain, $RUST_NEEDED or later. On Debian 13 or later:" \
    "    sudo apt install cargo" \
    "Elsewhere rustup installs one. See that cargo is on PATH, and run this again."
  local version
  version=$(cargo --version | cut -d ' ' -f 2)
  version_at_least "$version" "$RUST_NEEDED" || fail "cargo $version is too old; $RUST_NEEDED or later is needed." \
    "With rustup: rustup update stable"
  if [ "$role" = test ]; then
    local component
    for component in fmt:rustfmt clippy:clippy; do
      cargo "${component%%:*}" --version >/dev/null 2>&1 && continue
      if command -v rustup >/dev/null; then
        say "missing: cargo ${component%%:*}; adding it with rustup"
        rustup component add "${component##*:}"
      elif [ "${component%%:*}" = clippy ]; then
        need rust-clippy -- "cargo clippy"
      else
        need rustfmt -- "cargo fmt"
      fi
    done
  fi
}

check_system() {
  has_c_compiler || need gcc libc6-dev -- "a C compiler: it links the Rust programs and compiles the header probe"
  has_vulkan_loader || need libvulkan1 -- "the Vulkan loader"
  command -v vulkaninfo >/dev/null || need vulkan-tools -- "vulkaninfo, which shows what the driver reports"
  has_lavapipe || need mesa-vulkan-drivers -- \
    "Mesa's lavapipe $MESA_NEEDED or later, the base driver (found: $(mesa_version | grep . || echo none))"
  if [ "$role" = test ]; then
    command -v c++ >/dev/null || need g++ -- "a C++ compiler: the fuzz targets bring libFuzzer, which is C++"
    vulkan_file explicit_layer.d 'VkLayer_khronos_validation.json' >/dev/null ||
      need vulkan-validationlayers -- "the Vulkan validation layer, under which the tests must be clean"
    command -v drmdevice >/dev/null || need libdrm-tests -- "drmdevice, which lists the virtual node as libdrm sees it"
    command -v meson >/dev/null || need meson ninja-build -- "meson and ninja, by which distributions build and install"
    command -v pkg-config >/dev/null || need pkg-config -- "pkg-config, by which drivers in C find the component"
  fi
}

check_kernel() {
  printf 'int main(void) { return 0; }\n' | cc -x c -static -o /dev/null - 2>/dev/null || need gcc libc6-dev -- "a C compiler"
  command -v make >/dev/null || need make -- "make, by which Linux is built"
  command -v flex >/dev/null || need flex -- "flex, for the parser of the kernel's configuration"
  command -v bison >/dev/null || need bison -- "bison, for the parser of the kernel's configuration"
  command -v bc >/dev/null || need bc -- "bc, by which the kernel's build calculates"
  command -v xz >/dev/null || need xz-utils -- "xz, for the package of the kernel's source"
}

# The LLVM that Debian builds Mesa with: its translator and libclc are of the same version.
llvm_for_mesa() {
  case $(. /etc/os-release 2>/dev/null && printf '%s' "${VERSION_CODENAME:-}") in
    bookworm) echo 15 ;;
    *) echo 19 ;;
  esac
}

meson_is_new() {
  command -v meson >/dev/null && version_at_least "$(meson --version)" 1.1.0
}

has_header() { printf '#include <%s>\n' "$1" | cc -E -x c - >/dev/null 2>&1; }

check_panvk() {
  local llvm module
  llvm=$(llvm_for_mesa)
  command -v c++ >/dev/null && has_c_compiler || need gcc g++ libc6-dev -- "C and C++ compilers"
  meson_is_new || need meson ninja-build -- "meson 1.1 or later and ninja, by which Mesa is built"
  for module in flex bison pkg-config patch xz; do
    command -v "$module" >/dev/null && continue
    case $module in xz) need xz-utils -- "xz" ;; *) need "$module" -- "$module, which Mesa's build calls" ;; esac
  done
  command -v glslangValidator >/dev/null || need glslang-tools -- "glslang, for panvk's own shaders"
  command -v spirv-as >/dev/null || need spirv-tools -- "spirv-tools, for panvk's own shaders"
  for module in mako yaml packaging ply; do
    /usr/bin/python3 -c "import $module" 2>/dev/null || need "python3-$module" -- "Python's $module, for generated code"
  done
  [ -x "/usr/lib/llvm-$llvm/bin/llvm-config" ] || need "llvm-$llvm-dev" -- "LLVM $llvm, for panvk's own shaders"
  [ -f "/usr/lib/llvm-$llvm/include/clang/Basic/Version.h" ] && [ -e "/usr/lib/llvm-$llvm/lib/libclang-cpp.so" ] ||
    need "libclang-$llvm-dev" "libclang-cpp$llvm-dev" -- "clang $llvm"
  pkg-config --exists libclc || need "libclc-$llvm" "libclc-$llvm-dev" -- "libclc $llvm"
  case $(pkg-config --modversion LLVMSPIRVLib 2>/dev/null) in
    "$llvm".*) ;;
    *) need "libllvmspirvlib-$llvm-dev" -- "the translator from LLVM to SPIR-V" ;;
  esac
  has_header libdrm/drm.h && pkg-config --atleast-version=2.4.121 libdrm || need libdrm-dev -- "libdrm 2.4.121 or later"
  has_header expat.h || need libexpat1-dev -- "expat"
  has_header zlib.h || need zlib1g-dev -- "zlib"
  has_header libelf.h || need libelf-dev -- "libelf"
  pkg-config --exists wayland-client wayland-scanner || need libwayland-dev libwayland-bin -- "Wayland, to show pictures"
  pkg-config --atleast-version=1.38 wayland-protocols || need wayland-protocols -- "Wayland's protocols 1.38 or later"
  pkg-config --exists x11 x11-xcb xcb xcb-dri3 xcb-present xcb-sync xcb-randr xcb-shm xcb-xfixes xcb-keysyms xshmfence xrandr ||
    need libx11-dev libx11-xcb-dev libxcb1-dev libxcb-dri3-dev libxcb-present-dev libxcb-sync-dev libxcb-randr0-dev \
      libxcb-shm0-dev libxcb-xfixes0-dev libxcb-keysyms1-dev libxshmfence-dev libxrandr-dev -- "X11, to show pictures"
}

has_arm64_linker() {
  command -v aarch64-linux-gnu-gcc >/dev/null &&
    printf '#include <stdio.h>\nint main(void) { return 0; }\n' | aarch64-linux-gnu-gcc -x c -o /dev/null - 2>/dev/null
}

check_board() {
  has_arm64_linker || need gcc-aarch64-linux-gnu libc6-dev-arm64-cross -- "a linker and the C library's headers for arm64"
  command -v qemu-aarch64 >/dev/null || need qemu-user -- "qemu-user, which runs arm64 programs"
  local target=aarch64-unknown-linux-gnu
  [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ] || ! command -v rustup >/dev/null || {
    say "missing: Rust's standard library for arm64; adding it with rustup"
    rustup target add $target
  }
}

# --- how it is installed ---------------------------------------------------------------------------------------

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif [ -t 0 ]; then
    sudo "$@"
  else
    # No terminal: sudo must not ask for a password that nobody can type.
    sudo -n "$@"
  fi
}

apt() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

# Prints the source of SUITE in the machine's own apt configuration: its address on the first line, then the
# Signed-By field as deb822 writes it (several lines where the key itself is in the file), if there is one.
apt_source_of() {
  local files=() file
  for file in /etc/apt/sources.list.d/*.sources /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ -r "$file" ] && files+=("$file")
  done
  [ ${#files[@]} -gt 0 ] || return 1
  awk -v suite="$1" '
    function forget() { uri = ""; signed = ""; field = ""; types = ""; match_suite = 0; main = 0; enabled = 1 }
    function stanza_end() {
      if (!found && enabled && match_suite && main && uri != "" && types ~ /(^| )deb( |$)/) {
        print uri; if (signed != "") print signed; found = 1
      }
      forget()
    }
    FNR == 1 { stanza_end() }
    found { exit }
    FILENAME ~ /\.sources$/ {
      sub(/\r$/, "")
      if ($0 ~ /^#/) next
      if ($0 ~ /^[ \t]*$/) { stanza_end(); next }
      if ($0 ~ /^[ \t]/) { if (field == "signed-by") signed = signed "\n" $0; next }
      colon = index($0, ":"); field = tolower(substr($0, 1, colon - 1)); value = substr($0, colon + 1)
      sub(/^[ \t]+/, "", value)
      n = split(value, word, /[ \t]+/)
      if (field == "types") types = value
      if (field == "uris") uri = word[1]
      if (field == "enabled" && tolower(value) == "no") enabled = 0
      if (field == "suites") for (i = 1; i <= n; i++) if (word[i] == suite) match_suite = 1
      if (field == "components") for (i = 1; i <= n; i++) if (word[i] == "main") main = 1
      if (field == "signed-by") signed = "Signed-By: " value
      next
    }
    $1 == "deb" {
      line = $0; options = ""
      sub(/^[ \t]*deb[ \t]+/, "", line)
      if (line ~ /^\[/) { options = substr(line, 2, index(line, "]") - 2); sub(/^\[[^]]*\][ \t]*/, "", line) }
      n = split(line, word, /[ \t]+/)
      if (word[2] != suite) next
      key = ""
      m = split(options, option, /[ \t]+/)
      for (i = 1; i <= m; i++) if (tolower(option[i]) ~ /^signed-by=/) key = substr(option[i], 11)
      gsub(/,/, " ", key)
      print word[1]; if (key != "") print "Signed-By: " key
      found = 1; exit
    }
    END { stanza_end() }
  ' "${files[@]}" | grep .
}

add_bookworm_backports() {
  apt_source_of bookworm-backports >/dev/null && return 0
  local source
  source=$(apt_source_of bookworm) || fail "no apt source of the suite bookworm was found under /etc/apt." \
    "Debian 12's own Mesa is too old. Add the suite bookworm-backports to apt's sources and run this again."
  say "adding the suite bookworm-backports to apt's sources ($BACKPORTS_FILE):"
  say "Debian 12's own Mesa has no sparse binding in lavapipe"
  {
    printf 'Types: deb\nURIs: %s\nSuites: bookworm-backports\nComponents: main\n' "${source%%$'\n'*}"
    case $source in *$'\n'*) printf '%s\n' "${source#*$'\n'}" ;; esac
  } | as_root tee "$BACKPORTS_FILE" >/dev/null
}

# The newest version of PACKAGE that apt would install, from SUITE if one is given.
candidate_of() {
  LC_ALL=C apt-cache ${2:+-t "$2"} policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p'
}

install_packages() {
  command -v apt-get >/dev/null || fail "this machine has no apt-get, so nothing can be installed here." \
    "Install the equivalents of these Debian packages and run this again: ${packages[*]}"
  if [ "$(id -u)" != 0 ]; then
    local hint="As root: apt-get update && apt-get install ${packages[*]} (Debian 12: Mesa from bookworm-backports)"
    command -v sudo >/dev/null || fail "packages are missing, and this is neither root nor a user with sudo." "$hint"
    [ -t 0 ] || sudo -n true 2>/dev/null ||
      fail "packages are missing, and sudo wants a password but there is no terminal to ask on." "$hint"
  fi

  local target='' mesa=0 package codename=''
  for package in "${packages[@]}"; do [ "$package" = mesa-vulkan-drivers ] && mesa=1; done
  [ -r /etc/os-release ] && codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
  if [ "$codename" = bookworm ] && { [ $mesa = 1 ] || [ $check = check_panvk ]; }; then
    add_bookworm_backports
    target=bookworm-backports
  fi

  say "apt-get update"
  # A broken source of a third party need not stop us: what counts is whether the packages can be had.
  apt update || say "apt-get update reported errors; going on with the package lists that are there"

  if [ $mesa = 1 ]; then
    local candidate
    candidate=$(candidate_of mesa-vulkan-drivers "$target")
    version_at_least "${candidate:-0}" "$MESA_NEEDED" || fail \
      "apt offers mesa-vulkan-drivers ${candidate:-in no version}, and $MESA_NEEDED or later is needed." \
      "Debian 12 (with backports), Debian 13 and later, and Ubuntu releases whose updates carry Mesa" \
      "$MESA_NEEDED have it. With a lavapipe built elsewhere, set PANVK_SPARSE_BASE_ICD to its manifest" \
      "and put the manifest's folder under /usr/local/share/vulkan/icd.d."
  fi

  # Only Mesa (and what it depends on) may come from backports; the rest stays with the release.
  if [ $mesa = 1 ]; then
    say "apt-get install mesa-vulkan-drivers${target:+ (from $target)}"
    apt install --no-install-recommends ${target:+-t "$target"} mesa-vulkan-drivers ||
      fail "apt could not install mesa-vulkan-drivers; its messages are above."
  fi
  local others=() libdrm
  for package in "${packages[@]}"; do
    case $package in
      mesa-vulkan-drivers) ;;
      # Wants the very version of the library, which may just have come from backports with Mesa.
      libdrm-tests)
        libdrm=$(dpkg-query -W -f '${Version}\n' libdrm2 2>/dev/null | head -n 1 || true)
        others+=("libdrm-tests${libdrm:+=$libdrm}")
        ;;
      # Debian 12's own are older than what Mesa 25.0 asks for.
      meson | libdrm-dev | wayland-protocols)
        if [ $check = check_panvk ] && [ -n "$target" ]; then others+=("$package/$target"); else others+=("$package"); fi
        ;;
      *) others+=("$package") ;;
    esac
  done
  if [ ${#others[@]} -gt 0 ]; then
    say "apt-get install ${others[*]}"
    apt install --no-install-recommends "${others[@]}" || fail "apt could not install: ${others[*]}; its messages are above."
  fi
}

role=run
check=check_system
case ${1-} in
  '' | run) ;;
  test) role=test ;;
  kernel) check=check_kernel ;;
  panvk) check=check_panvk ;;
  board) check=check_board ;;
  -h | --help) usage && exit 0 ;;
  *)
    printf 'scripts/setup.sh: unknown argument "%s"; it takes run, test, kernel, panvk or board\n' "$1" >&2
    exit 2
    ;;
esac

[ $check = check_kernel ] || check_rust
$check
if [ ${#packages[@]} -gt 0 ]; then
  install_packages
  packages=()
  $check
  [ ${#packages[@]} -eq 0 ] || fail "still missing after the installation: ${packages[*]}"
fi
if [ $check = check_kernel ]; then
  say "everything that building Linux takes is there"
elif [ $check = check_panvk ]; then
  say "everything that building panvk takes is there"
elif [ $check = check_board ]; then
  say "everything that running arm64 programs takes is there"
else
  say "everything needed is there: cargo $(cargo --version | cut -d ' ' -f 2), Mesa $(mesa_version)"
fi
