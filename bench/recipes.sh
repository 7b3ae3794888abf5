#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every recipe on three tasks with the toy mind, through real HTTP, under the simulated or the steady
# clock; each run is replayed with `quern replay`, and under the steady clock its kernel must be faster
# than the plain version. Results: bench/results/recipes_{simulated,steady}.json. What is there already
# without a fault is not run again: delete the file to begin anew.
#
# usage: bench/recipes.sh QUERN simulated|steady [RECIPE...]
set -u
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
quern=$1 clock=$2
shift 2
size=tiny budget=10 tasks=(--task relu --task softmax --task matmul)
if [[ $clock = steady ]]; then
  size=small budget=7 tasks=(--task rms_norm --task cross_entropy --task attention)
fi
recipes=("$@")
[[ $# -gt 0 ]] || recipes=($(cd "$here/../recipes" && ls -- *.toml | sed 's/\.toml$//'))
failed=0
for recipe in "${recipes[@]}"; do
  python3 "$here/../tests/recipes/run.py" "$quern" "$recipe" --clock "$clock" --size "$size" \
    --budget "$budget" "${tasks[@]}" --json "$here/results/recipes_$clock.json" || failed=1
done
exit $failed
