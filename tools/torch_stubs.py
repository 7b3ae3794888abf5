# SPDX-License-Identifier: Apache-2.0
"""Lets the CUDA build of PyTorch run on the CPU without its CUDA libraries.

PyPI's torch links against some 3 GB of CUDA libraries that the Python ring never calls. Where one
is missing, this writes an empty-handed stand-in of the same name next to torch's own libraries:
each function in it stops the process, so nothing can be computed wrongly by one.

usage: torch_stubs.py SITE_PACKAGES    (needs nm, readelf and gcc)
"""
import pathlib
import re
import subprocess
import sys

SYSTEM = re.compile(r"(ld-linux|lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s|gomp|gfortran|quadmath|z)\.so)")


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def symbols(library, which):
    """(name, version or "") of the dynamic symbols of a library."""
    for line in output("nm", "-D", which, str(library)).splitlines():
        name, _, version = line.split()[-1].partition("@")
        yield name, version.lstrip("@")


def needed(library):
    return set(re.findall(r"NEEDED.*\[(.+)\]", output("readelf", "-d", str(library))))


def versions_of(library, missing):
    """Symbol version -> missing library that the version is wanted from."""
    return {version: entry.split()[0]
            for entry in output("readelf", "-V", str(library)).split("File: ")[1:]
            if entry.split()[0] in missing for version in re.findall(r"Name: (\S+)", entry)}


def wanted_symbols(libraries, missing, defined):
    """(missing library, version, name) of all that torch would look for there. Unversioned names
    that nobody defines (C++'s and Python's own come from elsewhere) belong to each of them."""
    for library in libraries:
        home = versions_of(library, missing)
        for name, version in symbols(library, "--undefined-only"):
            if version in home:
                yield home[version], version, name
            elif not version and name not in defined and not re.match(r"_?Py|__|_ITM|_Z", name):
                yield from ((name_of, "", name) for name_of in missing)


def write_stub(folder, library, wanted):
    """Makes the shared library `library` whose every function stops the process."""
    names = sorted({name for _, _, name in wanted})
    source, script = folder / "quern_no_cuda.s", folder / "quern_no_cuda.map"
    source.write_text(".text\nquern_no_cuda: ud2\n" + "".join(
        f".globl {name}\n.type {name},@function\n.set {name},quern_no_cuda\n" for name in names)
        + '.section .note.GNU-stack,"",@progbits\n')
    versions = sorted({version for _, version, _ in wanted if version})
    script.write_text("".join(
        f"{version} {{ global: {' '.join(n + ';' for _, v, n in wanted if v == version)} }};\n"
        for version in versions))
    versioned = [f"-Wl,--version-script={script}"] if versions else []
    output("gcc", "-shared", "-nostdlib", f"-Wl,-soname,{library}", *versioned,
           "-o", str(folder / library), str(source))
    source.unlink()
    script.unlink()


def main():
    site = pathlib.Path(sys.argv[1])
    folder = site / "torch" / "lib"
    own = sorted(file for file in folder.glob("*.so*") if file.is_file())
    present = [*own, *site.glob("nvidia/*/lib/*.so*")]
    needs = set().union(*(needed(library) for library in own)) - {file.name for file in present}
    missing = sorted(name for name in needs if not SYSTEM.match(name))
    if not missing:
        return
    defined = {name for library in present for name, _ in symbols(library, "--defined-only")}
    wanted = set(wanted_symbols(own, missing, defined))
    for library in missing:
        write_stub(folder, library, {entry for entry in wanted if entry[0] == library})
    print(f"torch_stubs: empty stand-ins for {', '.join(missing)}")


main()
