#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Proves that a portable folder needs nothing but glibc: every library that its programs name is in
# the folder, no absolute rpath is left, and it runs, moved elsewhere, with an empty environment.
# usage: check_portable.sh [FOLDER]    (default: build/portable/quern)
set -eu
folder=${1:-$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)/build/portable/quern}
glibc='^(ld-linux.*|lib(c|m|dl|rt|pthread|mvec|resolv|util))\.so'
faults=0
fault() { printf 'check_portable: %s\n' "$*" >&2; faults=1; }

[[ -x $folder/bin/quern ]] || { fault "$folder/bin/quern is not there: build preset portable"; exit 1; }
moved=$(mktemp -d)
trap 'rm -rf "$moved"' EXIT
cp -R "$folder" "$moved/quern"
for file in "$moved"/quern/bin/* "$moved"/quern/lib/*; do
  [[ -f $file ]] || continue
  dynamic=$(readelf -d "$file")
  while read -r name; do
    [[ $name =~ $glibc || -f $moved/quern/lib/$name ]] || fault "${file##*/} needs $name"
  done < <(sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' <<<"$dynamic")
  while read -r path; do
    [[ ! $path =~ (^|:)/ ]] || fault "${file##*/} looks for libraries in $path"
  done < <(sed -n 's/.*(\(RPATH\|RUNPATH\)).*\[\(.*\)\]/\2/p' <<<"$dynamic")
  # What a library of ours needs in turn is found by the rpath of the program that loads it.
  [[ $file == */bin/* ]] || continue
  while read -r name _ path _; do
    [[ $path != /* || $name =~ $glibc || $path == "$moved"/* ]] || fault "${file##*/} loads $path"
  done < <(ldd "$file" 2>/dev/null)
done
version=$(cd / && env -i "$moved/quern/bin/quern" --version) || fault "bin/quern --version failed"
newest=$(cat "$moved"/quern/bin/* "$moved"/quern/lib/* 2>/dev/null | strings |
  grep -oE '^GLIBC_[0-9.]+$' | sort -uV | tail -n 1)
((faults == 0)) && printf 'check_portable: %s; %s; needs %s\n' "$version" \
  "$(du -sh "$moved/quern" | cut -f1)" "${newest:-glibc}"
exit "$faults"
