#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every recipe on three tasks with the toy mind, through real HTTP: once under the simulated clock,
# where each run is replayed from its cassette, and once under the steady clock, where the kernel must
# be faster than the plain version. Results: bench/results/recipes_{simulated,steady}.json.
#
# usage: bench/recipes.sh QUERN [RECIPE...]
set -eu
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
quern=$1
shift
for clock in simulated steady; do
  size=tiny
  [[ $clock = simulated ]] || size=cpu
  python3 "$here/../tests/recipes/run.py" "$quern" "$@" --clock "$clock" --size "$size" --budget 10 \
    --task relu --task softmax --task matmul --json "$here/results/recipes_$clock.json"
done
