#!/bin/sh
# usage: debian-package.sh [--source | --whole ARCHITECTURE] SUITE PACKAGE FOLDER
#
# Downloads a package of a suite of Debian into FOLDER, which is made, from the mirror that this machine's own apt sources
# name; with --source the files of its source package, not unpacked; with --whole the packages for another architecture and
# all that they depend on. With --whole, SUITE and PACKAGE may be several, separated by spaces: the last suite comes first.
# Lists and cache are its own, in FOLDER/apt, and gone at the end: nothing of the machine changes, root is not needed.
set -eu

type=deb
architecture=
case $1 in
    --source) type=deb-src && shift ;;
    --whole) architecture=$2 && shift 2 ;;
esac
suite=$1
package=$2
mkdir -p "$3"
folder=$(CDPATH='' cd -- "$3" && pwd)
say() { echo "debian-package: $*" >&2; }
die() { say "$*"; exit 1; }

for tool in apt-get awk; do
    command -v $tool >/dev/null || die "no $tool on this machine"
done

work=$folder/apt
rm -rf "$work"
mkdir -p "$work/candidates" "$work/preferences.d"
: >"$work/none"

# Each entry of the machine's sources that names a Debian release becomes a candidate that names our suite instead:
# same URIs, same keys, same options.
codename=$(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-}")
one_line() {
    awk -v names="$codename" -v suite="$suite" -v type="$type" -v dir="$work/candidates" -v prefix="$1" -v other="$architecture" '
        function is_release(s) {
            sub(/-(updates|backports|proposed-updates)$/, "", s)
            return (names != "" && s == names) || s ~ /^(oldstable|stable|testing|unstable|sid)$/
        }
        $1 == "deb" {
            line = $0
            sub(/#.*/, "", line)
            options = ""
            if (match(line, /\[[^]]*\]/)) {
                options = substr(line, RSTART, RLENGTH) " "
                line = substr(line, 1, RSTART - 1) substr(line, RSTART + RLENGTH)
            }
            n = split(line, word, /[ \t]+/)
            main = 0
            for (i = 4; i <= n; i++) if (word[i] == "main") main = 1
            if (main && is_release(word[3]) && !seen[word[2]]++) {
                # Which architecture, we say ourselves.
                if (other) gsub(/arch=[^] \t]*/, "", options)
                file = dir "/" prefix "-" ++count ".list"
                n = split(suite, word_of, " ")
                for (i = 1; i <= n; i++) print type " " options word[2] " " word_of[i] " main" > file
            }
        }' "$2"
}
deb822() {
    awk -v names="$codename" -v suite="$suite" -v type="$type" -v dir="$work/candidates" -v prefix="$1" -v other="$architecture" '
        function is_release(s) {
            sub(/-(updates|backports|proposed-updates)$/, "", s)
            return (names != "" && s == names) || s ~ /^(oldstable|stable|testing|unstable|sid)$/
        }
        function flush_stanza(   i, n, word, wanted) {
            n = split(suites, word, /[ \t]+/)
            for (i = 1; i <= n; i++) if (is_release(word[i])) wanted = 1
            if (wanted && binary && enabled && (" " components " ") ~ /[ \t]main[ \t]/)
                print "Types: " type "\nSuites: " suite "\nComponents: main\n" kept > (dir "/" prefix "-" ++count ".sources")
            suites = components = kept = field = ""
            binary = 0
            enabled = 1
        }
        BEGIN { enabled = 1 }
        /^#/ { next }
        /^[ \t]*$/ { flush_stanza(); next }
        # A continuation line belongs to the field before it.
        /^[ \t]/ {
            if (field == "suites") suites = suites " " $0
            else if (field == "components") components = components " " $0
            else if (field == "types") { if ((" " $0 " ") ~ /[ \t]deb[ \t]/) binary = 1 }
            else kept = kept $0 "\n"
            next
        }
        {
            field = tolower(substr($0, 1, index($0, ":") - 1))
            value = substr($0, index($0, ":") + 1)
            if (field == "suites") suites = value
            else if (field == "components") components = value
            else if (field == "types") binary = (" " value " ") ~ /[ \t]deb[ \t]/
            else if (field == "architectures" && other) next
            else if (field == "enabled") enabled = tolower(value) !~ /no|false|0|off|without|disable/
            else kept = kept $0 "\n"
        }
        END { flush_stanza() }' "$2"
}
# PANVK_SPARSE_APT_ETC names another folder of sources, to try this script with.
etc=${PANVK_SPARSE_APT_ETC:-/etc/apt}
number=0
for file in "$etc"/sources.list "$etc"/sources.list.d/*.list "$etc"/sources.list.d/*.sources; do
    [ -r "$file" ] || continue
    number=$((number + 1))
    case $file in
        *.sources) deb822 "$number" "$file" ;;
        *) one_line "$number" "$file" ;;
    esac
done

run_apt() {
    tool=$1
    shift
    # As root, apt would fetch as a user that may not be able to write below target/.
    "$tool" -qq -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=2 \
        -o Dir::Etc::sourcelist="$work/none" -o Dir::Etc::sourceparts="$parts" \
        -o Dir::Etc::preferences="$work/none" -o Dir::Etc::preferencesparts="$work/preferences.d" \
        -o Dir::State::status="$work/none" -o Dir::State::extended_states="$work/extended_states" \
        -o Dir::State::lists="$parts/lists" -o Dir::Cache="$parts/cache" \
        ${architecture:+-o APT::Architecture="$architecture" -o APT::Architectures="$architecture"} "$@"
}

for candidate in "$work"/candidates/*; do
    [ -e "$candidate" ] || die "no Debian release among the sources in $etc"
    parts=$work/$(basename "$candidate").d
    mkdir -p "$parts/lists/partial" "$parts/cache/archives/partial"
    cp "$candidate" "$parts/"
    say "looking for $package in $suite: $(sed -n 's/^URIs: *//p; s/^deb[^ ]* \(\[[^]]*\] \)*\([^ ]*\) .*/\2/p' "$candidate")"
    run_apt apt-get update || continue
    if [ -n "$architecture" ]; then
        # shellcheck disable=SC2086 # a word for each package
        run_apt apt-get install -y --download-only --no-install-recommends -t "${suite##* }" $package >&2 || continue
        mv "$parts"/cache/archives/*.deb "$folder/"
    elif [ "$type" = deb ]; then
        (cd "$folder" && run_apt apt-get download -t "$suite" "$package") || continue
    else
        (cd "$folder" && run_apt apt-get source --download-only "$package") || continue
    fi
    rm -rf "$work"
    exit 0
done
rm -rf "$work"
die "none of this machine's apt sources has $package of $suite"
