# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: Apache-2.0
# What ./quern, ./test and .ci/run share: packages, configure, build. Sourced; expects $root.
# Everything it says goes to stderr; it returns 5 (environment) or 1 (our build is broken).

say() { printf 'quern: %s\n' "$*" >&2; }
fail() { say "$1"; shift; for hint; do printf '       %s\n' "$hint" >&2; done; return 5; }

# Where builds go: build/ in the checkout (it may be a link), or the user's cache where the
# checkout cannot be written.
build_root() {
  if [[ -d $root/build && -w $root/build ]] || [[ ! -e $root/build && -w $root ]]; then
    printf '%s/build\n' "$root"
  else
    printf '%s/quern/build-%s\n' "${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}" \
      "$(printf %s "$root" | cksum | cut -d' ' -f1)"
  fi
}

wanted_packages() {  # the packages of the sets named
  local set package _
  while read -r set package _; do
    [[ " $* " == *" $set "* ]] && printf '%s\n' "$package"
  done <"$root/tools/packages.txt"
}

missing_packages() {  # those of the sets named that are not installed; one dpkg-query for all
  local packages have package
  mapfile -t packages < <(wanted_packages "$@")
  have=$(dpkg-query -W -f '${db:Status-Status}:${Package}\n' "${packages[@]}" 2>/dev/null)
  for package in "${packages[@]}"; do
    grep -q "^installed:$package\$" <<<"$have" || printf '%s\n' "$package"
  done
}

as_root() {
  if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

apt_install() {
  local log=$1
  shift
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 \
    install --no-install-recommends "$@" >>"$log" 2>&1 </dev/null
}

install_packages() {  # LOG SET...: installs what is missing of these sets
  local log=$1 missing
  shift
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    command -v cmake >/dev/null && command -v ninja >/dev/null && command -v g++ >/dev/null &&
      { say "not Debian: taking the libraries that are installed"; return 0; }
    fail "this is not Debian, and there is no cmake, ninja or g++" "install what corresponds to:" \
      "$(wanted_packages "$@" | tr '\n' ' ')"
    return
  fi
  mapfile -t missing < <(missing_packages "$@")
  ((${#missing[@]})) || return 0
  if ((EUID != 0)) && ! { command -v sudo >/dev/null && { [[ -t 2 ]] || sudo -n true 2>/dev/null; }; }; then
    fail "${#missing[@]} system packages are missing and you are not root; ask for" \
      "apt-get install --no-install-recommends ${missing[*]}"
    return
  fi
  say "installing ${#missing[@]} system packages: ${missing[*]}"
  apt_install "$log" "${missing[@]}" && return
  # No package lists, or lists too old to match the mirror: fetch them, then once more.
  as_root apt-get -q -o DPkg::Lock::Timeout=600 update >>"$log" 2>&1 &&
    apt_install "$log" "${missing[@]}" && return
  grep -E '^(E|W|Err):' "$log" | tail -n 5 >&2
  if grep -qE 'Could not resolve|Temporary failure|Unable to connect|Could not connect' "$log"; then
    fail "the Debian mirror cannot be reached" "connect this machine, or install by other means:" "${missing[*]}"
  elif grep -q 'No space left' "$log"; then
    fail "the disk is full" "the packages need up to 1 GB"
  else
    fail "apt-get could not install the packages" "see $log" \
      "needed: Debian 12 with its main archive"
  fi
}

# Runs a build, showing ninja's count on a terminal; the log has everything.
run_ninja() {  # DIRECTORY LOG TARGET...
  local dir=$1 log=$2 line status=0
  shift 2
  if [[ -t 2 ]]; then
    NINJA_STATUS='[%f/%t] ' ninja -C "$dir" "$@" 2>&1 | tee -a "$log" | while IFS= read -r line; do
      [[ $line == \[* ]] && printf '\r\033[Kquern: building %s' "${line:0:60}" >&2
    done
    status=${PIPESTATUS[0]}
    printf '\r\033[K' >&2
  else
    ninja -C "$dir" "$@" >>"$log" 2>&1 || status=$?
  fi
  return "$status"
}

build_failed() {
  local log=$1
  if grep -q 'No space left on device' "$log"; then
    fail "the disk is full" "the build needs up to 2 GB in ${log%/*}"
  elif grep -qE 'Killed|virtual memory exhausted|Cannot allocate memory' "$log"; then
    fail "the compiler ran out of memory" "a build needs about 2 GB free; then run this again"
  else
    grep -m 5 -E 'error:|CMake Error|undefined reference|may not (include|touch)|cycle:' "$log" >&2 ||
      tail -n 5 "$log" >&2
    say "the build failed; the whole log: $log"
    return 1
  fi
}

# Configures and builds a preset, packages first. One at a time: others wait, then find it done.
bring_up() {  # PRESET SET... [-- TARGET...]
  local preset=$1 sets=() dir log began=$SECONDS free
  shift
  while (($#)) && [[ $1 != -- ]]; do sets+=("$1"); shift; done
  (($#)) && shift
  dir=$(build_root)/$preset
  log=$dir/build.log
  mkdir -p "$dir" 2>/dev/null || { fail "cannot write ${dir%/*}" "free space, or set XDG_CACHE_HOME"; return; }
  # The binary looks for tasks/ in the folders above it.
  [[ $dir == "$root"/* ]] || ln -sfn "$root/tasks" "${dir%/*}/tasks"
  exec 9>"$dir/.lock" || return 5
  if ! flock -n 9; then
    say "another process is building; waiting for it"
    flock 9
  fi
  if declare -F fresh >/dev/null && fresh "$dir"; then exec 9>&-; return 0; fi
  free=$(df -Pk "$dir" | awk 'NR == 2 {print $4}')
  if ((free < 300000)); then
    fail "the disk is full: $((free / 1024)) MB left in $dir" "the build needs about 1 GB"
    return
  fi
  : >"$log"
  install_packages "$log" "${sets[@]}" 9>&- || return
  touch "$dir/.building"
  say "building ($preset; log: $log)"
  export CCACHE_BASEDIR=$root
  if ! (cd "$root" && cmake --preset "$preset" -B "$dir") >>"$log" 2>&1 9>&- ||
    ! run_ninja "$dir" "$log" "$@" 9>&-; then
    build_failed "$log"
    return
  fi
  mv "$dir/.building" "$dir/.built"
  say "built in $((SECONDS - began)) s"
  exec 9>&-
}
