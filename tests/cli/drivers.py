# SPDX-License-Identifier: Apache-2.0
"""Writes a benchmark in ParEval's form, folder `p`, and answers to it, `outputs.json`. Its second
driver accepts whatever compiles."""
import json
import pathlib

DRIVER = """
#include <vector>
#include "utilities.hpp"
#include "baseline.hpp"
#include "generated-code.hpp"
struct Context { std::vector<double> x, y; };
void reset(Context* c) { for (double& v : c->x) v = next(); }
Context* init() {
  auto* c = new Context();
  c->x.resize(DRIVER_PROBLEM_SIZE);
  c->y.resize(DRIVER_PROBLEM_SIZE);
  return c;
}
void compute(Context* c) { twice(c->x, c->y); }
void best(Context* c) { correct_twice(c->x, c->y); }
bool validate(Context* c) {
  std::vector<double> right(c->x.size());
  reset(c);
  correct_twice(c->x, right);
  twice(c->x, c->y);
  return right == c->y;
}
void destroy(Context* c) { delete c; }
"""
HEAD = "{}(std::vector<double> const& x, std::vector<double>& y) {{"
LOOP = "for (size_t i = 0; i < x.size(); ++i) y[i] = {} * x[i]; }}"

shared = pathlib.Path("p/drivers/cpp")
for name, check in ("00_twice", "right == c->y"), ("01_lenient", "true"):
    task = shared / "benchmarks/transform" / name
    task.mkdir(parents=True)
    (task / "cpu.cc").write_text(DRIVER.replace("right == c->y", check))
    (task / "baseline.hpp").write_text("#pragma once\nvoid " + HEAD.format("correct_twice")
                                       + LOOP.format(2))
(shared / "utilities.hpp").write_text(
    "#pragma once\n#ifdef USE_OMP\n#include <omp.h>\n#endif\ninline double next() { static "
    "unsigned s = 1; s = s * 1664525u + 1013904223u; return s / 4294967296.0; }\n")
prompt = {"problem_type": "transform", "language": "cpp", "name": "00_twice",
          "prompt": "/* y = 2 x */\nvoid " + HEAD.format("twice")}
rows = [{**prompt, "parallelism_model": "omp",
         "outputs": ["\n#pragma omp parallel for\n" + LOOP.format(2), LOOP.format(3)]},
        {**prompt, "parallelism_model": "serial", "outputs": [LOOP.format(2)]},
        {**prompt, "parallelism_model": "serial", "name": "01_lenient", "outputs": [LOOP.format(3)]}]
pathlib.Path("outputs.json").write_text(json.dumps(rows))
