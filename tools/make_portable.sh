#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Fills FOLDER with programs, the shared libraries they need (glibc excepted), tasks and licence.
# usage: make_portable.sh FOLDER CHECKOUT PROGRAM...
set -eu
folder=$1 checkout=$2
shift 2
rm -rf "$folder"
mkdir -p "$folder/bin" "$folder/lib"
(($# == 0)) || cp "$@" "$folder/bin/"
# glibc comes from the host: a loader and a libc of different versions do not work together.
glibc='^(ld-linux.*|lib(c|m|dl|rt|pthread|mvec|resolv|nss_.*|util))\.so'
for program; do
  ldd "$program" | while read -r name _ path _; do
    [[ $path == /* && ! $name =~ $glibc ]] && cp -L "$path" "$folder/lib/$name"
  done || true
done
cp "$checkout/LICENSE" "$folder/"
[[ -d $checkout/tasks ]] && cp -R "$checkout/tasks" "$folder/"
strip --strip-debug "$folder"/bin/* "$folder"/lib/* 2>/dev/null || true
