# shellcheck shell=bash
# What panvk.sh, board.sh, real-kernel.sh and deb.sh in this folder share; they source it.

say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2; }
fail() { # fail STATUS LINE...
  local status=$1
  shift
  printf "$(basename "$0" .sh): %s\n" "$@" >&2
  exit "$status"
}

# Prints where the executable of tests NAME lies, by cargo's messages in JSON.
executable_of() { # executable_of NAME <MESSAGES
  sed -n "s/.*\"name\":\"$1\".*\"executable\":\"\([^\"]*\)\".*/\1/p" | tail -n 1 | grep . || fail 1 "cargo has built no tests named $1"
}

# Sets `command` to the first argument, which has to be build, run, where, test or clean. Only run takes more arguments, a program and its own.
take_command() {
  [ $# -gt 0 ] || fail 2 "a command is wanted: build, run, where, test or clean (see --help)"
  command=$1
  shift
  case $command in
    run) [ $# -gt 0 ] || fail 2 "run wants a program (see --help)" ;;
    build | where | test | clean) [ $# = 0 ] || fail 2 "$command takes no argument $1 (see --help)" ;;
    *) fail 2 "unknown command $command; there are build, run, where, test and clean (see --help)" ;;
  esac
}
