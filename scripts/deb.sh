#!/usr/bin/env bash
# The Debian packages, built and tried in clean chroots of Debian 13: see docs/install.md.

set -euo pipefail

usage() {
  cat <<'USAGE'
usage: scripts/deb.sh [--mirror URL]

Builds the Debian packages of panvk-sparse from this checkout, with what of it is not committed, in a clean chroot of Debian 13 and without
network; has lintian look at them; installs them in a second clean chroot, tries the driver, the layer, the virtual node, the command and the
library there; and removes them again. The packages are in target/deb/ afterwards.

  --mirror URL   a mirror of Debian [default: the one that this machine's apt uses for Debian]

It wants root (debootstrap, chroot), debootstrap, git, and a cargo of 1.85 or later, which downloads the crates. It compiles
everything once more. ${TMPDIR:-/tmp} has to have 3 GB free: the chroot of the build alone takes 2.5 GB. All of it is gone at the end.

Exit status: 0 all of that went well, 1 it did not, 2 the arguments were not understood.
USAGE
}

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/common.sh
. "$repo/scripts/common.sh"

mirror=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage && exit 0 ;;
    --mirror)
      [ $# -gt 1 ] || fail 2 "--mirror wants a value (see --help)"
      mirror=$2
      shift 2
      ;;
    *) fail 2 "unknown argument \"$1\" (see --help)" ;;
  esac
done

PATH=$PATH:/usr/sbin:/sbin
for tool in debootstrap git cargo unshare chroot; do
  command -v "$tool" >/dev/null || fail 1 "no $tool on this machine (Debian: apt install debootstrap git cargo util-linux)"
done
[ "$(id -u)" = 0 ] || fail 1 "debootstrap and chroot want root; nothing was done"
if [ -z "$mirror" ] && command -v apt-get >/dev/null; then
  mirror=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    sed -n 's/^Debian|Debian|main|//p' | head -n 1)
fi
[ -n "$mirror" ] || fail 1 "this machine's apt names no mirror of Debian; name one with --mirror URL (see --help)"

work=$(mktemp -d "${TMPDIR:-/tmp}/panvk-sparse-deb.XXXXXX")
trap 'rm -rf "$work"' EXIT

# inside CHROOT COMMAND: as root. The namespaces end with it, and what is mounted or runs in them.
inside() {
  unshare --mount --pid --fork --kill-child ${net:+--net} sh -c \
    'mount -t proc proc "$1/proc" && exec chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TERM=dumb \
      DEBIAN_FRONTEND=noninteractive ${http_proxy:+http_proxy="$http_proxy"} sh -ec "$2"' sh "$1" "$2"
}
# inside_alone CHROOT COMMAND: as an ordinary user, and without network.
inside_alone() {
  net=none inside "$1" "exec setpriv --reuid=1000 --regid=1000 --clear-groups env HOME=/home/user sh -ec '$2'"
}

say "Debian 13 from $mirror"
debootstrap --variant=minbase trixie "$work/build" "$mirror" >"$work/log" 2>&1 ||
  fail 1 "debootstrap failed:" "$(tail -n 20 "$work/log")"
[ ! -e /etc/resolv.conf ] || cp -L /etc/resolv.conf "$work/build/etc/resolv.conf"
printf 'APT::Install-Recommends "false";\nAcquire::Retries "2";\n' >"$work/build/etc/apt/apt.conf.d/90panvk-sparse"
inside "$work/build" 'apt-get -qq update && apt-get -qq clean && useradd --create-home --uid 1000 user'
cp -a "$work/build" "$work/try"

say "the source and the crates that it is built from"
source=$work/build/home/user/panvk-sparse
mkdir "$source"
(cd "$repo" && git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
  # A file that was deleted is still in the index.
  [ ! -e "$file" ] && [ ! -L "$file" ] || printf '%s\0' "$file"
done | tar --null --files-from=- -cf -) | tar -C "$source" -xf -
cargo vendor --quiet --locked --manifest-path "$source/Cargo.toml" "$source/debian/vendor" >"$work/log" 2>&1 ||
  fail 1 "cargo vendor failed:" "$(tail -n 20 "$work/log")"
chown -R 1000:1000 "$source"

say "what the build needs"
inside "$work/build" 'apt-get -qq install build-essential lintian && apt-get -qq build-dep /home/user/panvk-sparse' >"$work/log" 2>&1 ||
  fail 1 "apt failed:" "$(tail -n 20 "$work/log")"
say "dpkg-buildpackage, without network"
inside_alone "$work/build" 'cd ~/panvk-sparse && dpkg-buildpackage --unsigned-source --unsigned-changes --build=binary' >"$work/log" 2>&1 ||
  fail 1 "dpkg-buildpackage failed:" "$(tail -n 60 "$work/log")"
say "lintian"
inside_alone "$work/build" 'cd ~ && lintian --fail-on error --info --display-info *.changes' >&2 || fail 1 "lintian has errors"

say "a clean Debian 13 with the packages"
mkdir "$work/try/debs"
find "$work/build/home/user" -maxdepth 1 -name '*.deb' ! -name '*-dbgsym_*' -exec cp -t "$work/try/debs" {} +
inside "$work/try" 'apt-get -qq install /debs/*.deb vulkan-tools gcc libc6-dev pkgconf' >"$work/log" 2>&1 ||
  fail 1 "apt failed:" "$(tail -n 20 "$work/log")"
cp "$repo/scripts/deb-try.sh" "$work/try/try.sh"
inside_alone "$work/try" 'cd && exec sh -e /try.sh' >&2 || fail 1 "what was installed does not work"
say "removed again"
inside "$work/try" 'apt-get -qq purge panvk-sparse vulkan-layer-panvk-sparse libpanvk-sparse1 libpanvk-sparse-dev >/dev/null 2>&1
  left=$(find / -xdev -iname "*panvk*sparse*" ! -path "/debs/*" ! -path "/proc/*" ! -path "/home/*" ! -name 90panvk-sparse)
  [ -z "$left" ] || { echo "left behind: $left" >&2; exit 1; }' || fail 1 "purging leaves something behind"

mkdir -p "$repo/target/deb"
rm -f "$repo"/target/deb/*.deb
cp "$work/try/debs/"*.deb "$repo/target/deb/"
say "all went well; the packages:"
ls -l "$repo/target/deb"
