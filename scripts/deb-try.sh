# What scripts/deb.sh runs, as an ordinary user, where the packages are installed: each part of them does what it is for.
# Nothing is set: all is found where it is installed.

title() { printf '\n== %s\n' "$*"; }

title "panvk-sparse doctor"
panvk-sparse doctor
panvk-sparse doctor --json | grep -q '"offered_to_all":true'

title "The loader offers the driver to every program"
vulkaninfo --summary 2>/dev/null | grep 'driverInfo .*panvk-sparse'

title "The layer records, the command reads"
VK_INSTANCE_LAYERS=VK_LAYER_PANVK_sparse_trace PANVK_SPARSE_TRACE_FILE=info.pvst vulkaninfo --summary >/dev/null 2>&1
panvk-sparse trace info info.pvst

title "The virtual node"
LD_PRELOAD=$(echo /usr/lib/*/panvk-sparse/libvpanthor_preload.so) VPANTHOR=1.9 panvk-sparse probe --kernel auto | head -n 3

title "Man pages and completions"
for page in panvk-sparse panvk-sparse-compare panvk-sparse-doctor panvk-sparse-trace-info; do
  ls "/usr/share/man/man1/$page.1.gz"
done
ls /usr/share/bash-completion/completions/panvk-sparse /usr/share/zsh/vendor-completions/_panvk-sparse \
  /usr/share/fish/vendor_completions.d/panvk-sparse.fish

title "A driver in C"
printf '#include <panvk_sparse.h>\nint main(void) { return pvs_bind(0, 0, 0) == -22 ? 0 : 1; }\n' >driver.c
gcc driver.c $(pkg-config --cflags --libs panvk-sparse) -o driver
./driver
gcc driver.c $(pkg-config --cflags panvk-sparse) -l:libpanvk_sparse.a $(pkg-config --static --libs panvk-sparse | sed 's/-lpanvk_sparse//') -o driver-static
./driver-static
echo "linked with the shared and with the static library"
