#!/bin/sh
# usage: link.sh LIBPANVK_SPARSE_C.A OUTPUT
#
# Links the shared library of the static one, with the soname libpanvk_sparse.so.1 and the symbol version PANVK_SPARSE_1.
# rustc cannot do it: it gives the linker a list of symbols without a version, and linkers take only one kind of list.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
exec "${CC:-cc}" -shared -o "$2" \
  -Wl,-soname,libpanvk_sparse.so.1 -Wl,--version-script="$here/panvk_sparse.map" -Wl,-z,defs -Wl,--gc-sections -Wl,--as-needed \
  -Wl,--whole-archive "$1" -Wl,--no-whole-archive -lgcc_s -lpthread -ldl -lm -lc
