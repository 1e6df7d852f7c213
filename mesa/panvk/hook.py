#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""usage: hook.py TREE LIBPANVK_SPARSE_C.A

Puts the component into a source tree of Mesa 25.0: our C file and header go beside panvk's, and src/panfrost/vulkan/meson.build
gets two insertions. No other file changes. May be run again, to take a newer C file. A tree that is not known is refused
before anything changes, with what was looked for.
"""
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = "csf/panvk_vX_sparse.c"
# What the C file relies on by name, and the file that has it.
WRAPPED = {
    "panvk_v10_create_device": ("panvk_vX_device.c", "panvk_per_arch(create_device)("),
    "panvk_v10_destroy_device": ("panvk_vX_device.c", "panvk_per_arch(destroy_device)("),
    "panvk_physical_device_init": ("panvk_physical_device.c", "panvk_physical_device_init("),
    "panvk_physical_device_finish": ("panvk_physical_device.c", "panvk_physical_device_finish("),
}
for name in ["QueueFamilyProperties2", "ImageFormatProperties2", "SparseImageFormatProperties", "SparseImageFormatProperties2"]:
    name = f"panvk_GetPhysicalDevice{name}"
    WRAPPED[name] = ("panvk_physical_device.c", f"{name}(")
OTHERS = [
    ("panvk_vX_device.c", "PANVK_VA_RESERVE_BOTTOM 0x2000000ull"),
    ("panvk_vX_device.c", "1ull << 32);"),
    ("csf/panvk_vX_queue.c", "driver_submit = panvk_queue_submit;"),
    ("panvk_buffer.c", "panvk_CreateBuffer("),
    ("panvk_image.c", "panvk_CreateImage("),
    ("panvk_device_memory.c", "panvk_FreeMemory("),
]
# Where the insertions go: behind the only place that matches.
FILES = r"^csf_files = \[\n"
LINK = r"^libvulkan_panfrost = shared_library\((?:(?!^\)).)*?link_args : \["


def refuse(why):
    sys.exit(f"hook.py: {tree}: this is no Mesa 25.0 that is known here: {why}")


def read(path):
    try:
        return path.read_text()
    except OSError as error:
        refuse(f"looked for {path}: {error.strerror}")


if len(sys.argv) != 3:
    sys.exit(__doc__)
tree, archive = map(pathlib.Path, sys.argv[1:])
vulkan = tree / "src/panfrost/vulkan"
version = read(tree / "VERSION").strip()
if not version.startswith("25.0."):
    refuse(f"looked for a version 25.0.x in the file VERSION, found {version!r}")
for file, text in [*WRAPPED.values(), *OTHERS]:
    if text not in read(vulkan / file):
        refuse(f"looked for {text!r} in {vulkan / file}")

build = vulkan / "meson.build"
text = read(build)
if SOURCE not in text:
    arguments = [str(archive.resolve()), "-lgcc_s", f"-Wl,--exclude-libs,{archive.name}"]
    arguments += [f"-Wl,--wrap={symbol}" for symbol in WRAPPED]
    for pattern, addition in [(FILES, f"  '{SOURCE}',\n"), (LINK, ", ".join(f"'{one}'" for one in arguments) + ", ")]:
        found = list(re.finditer(pattern, text, re.M | re.S))
        if len(found) != 1:
            refuse(f"looked for one place in {build} that matches {pattern!r}, found {len(found)}")
        text = text[: found[0].end()] + addition + text[found[0].end() :]
    build.write_text(text)
for source, target in [(HERE / "panvk_vX_sparse.c", vulkan / SOURCE), (HERE.parent / "panvk_sparse.h", vulkan / "csf/panvk_sparse.h")]:
    # What has not changed keeps its time, and is not compiled again.
    if not target.exists() or target.read_bytes() != source.read_bytes():
        target.write_bytes(source.read_bytes())
print(f"hook.py: {tree}: Mesa {version} has the component")
