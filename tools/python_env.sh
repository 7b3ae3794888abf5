# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: Apache-2.0
# The Python ring's own environment (.venv): pytest, numpy and the CPU half of PyTorch. Sourced after
# setup.sh. The pins are python/requirements.txt; tools/torch_stubs.py spares 3 GB of CUDA libraries.

unreachable='NewConnectionError|Temporary failure|Name or service not known|Network is unreachable'
unreachable+='|ConnectTimeout|ProxyError|Connection refused|No route to host|Read timed out'

# Prints the environment's interpreter. Returns 0 with no output, after saying why, where PyPI cannot
# be reached (the ring is then skipped), and 1 where setting up fails for a reason of ours.
python_env() {
  local venv=$root/.venv pins=$root/python/requirements.txt log stamp began=$SECONDS
  [[ -w $root ]] || venv=$(build_root)/venv
  log=$venv/setup.log
  stamp=$(cat "$pins" "$root/tools/torch_stubs.py" | cksum)
  if [[ ! -f $venv/.ready || $(<"$venv/.ready") != "$stamp" ]]; then
    mkdir -p "$venv"
    exec 8>"$venv/.lock"
    flock 8
    if [[ ! -f $venv/.ready || $(<"$venv/.ready") != "$stamp" ]]; then
      say "setting up the Python ring: PyTorch and pytest from PyPI into ${venv#"$root"/} (1.4 GB)"
      : >"$log"
      make_python_env "$venv" "$pins" "$log" 8>&- >&2 || return
      [[ -x $venv/bin/python && -f $venv/.usable ]] || return 0
      mv "$venv/.usable" "$venv/.ready"
      printf '%s\n' "$stamp" >"$venv/.ready"
      say "the Python ring is set up in $((SECONDS - began)) s"
    fi
    exec 8>&-
  fi
  printf '%s\n' "$venv/bin/python"
}

make_python_env() {  # VENV PINS LOG; leaves VENV/.usable where all is well
  local venv=$1 pins=$2 log=$3 pip=("$1/bin/python" -m pip install -q --no-compile --disable-pip-version-check --retries 2)
  rm -f "$venv/.ready" "$venv/.usable"
  if ! python3 -m venv "$venv" >>"$log" 2>&1; then
    fail "python3 cannot make a virtual environment" "see $log"
    return 1
  fi
  if ! "${pip[@]}" --no-deps -r "$pins" >>"$log" 2>&1; then
    if grep -qE "$unreachable" "$log"; then
      say "PyPI cannot be reached: the Python ring is SKIPPED (1 ring skipped; see $log)"
      return 0
    fi
    grep -E '^ERROR' "$log" | head -n 5 >&2
    fail "pip could not install what the Python ring needs" "see $log"
    return 1
  fi
  "$venv/bin/python" "$root/tools/torch_stubs.py" "$venv"/lib/python3*/site-packages >>"$log" 2>&1
  if ! "$venv/bin/python" -c 'import torch' >>"$log" 2>&1; then
    say "PyTorch needs its CUDA libraries here: fetching them too (4 GB more)"
    "${pip[@]}" --force-reinstall torch >>"$log" 2>&1
    if ! "$venv/bin/python" -c 'import torch' >>"$log" 2>&1; then
      fail "PyTorch does not start" "see $log"
      return 1
    fi
  fi
  touch "$venv/.usable"
}
