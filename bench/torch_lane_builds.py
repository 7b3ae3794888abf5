# SPDX-License-Identifier: Apache-2.0
"""Times builds of new sources: PyTorch's load_inline, and the lane's with its light header and with
PyTorch's header precompiled. Interleaved; seconds of wall clock and of all processes' CPU.
"""
import os
import pathlib
import resource
import statistics
import sys
import tempfile
import time

import quern

# The package of the same name is python/quern.
del sys.modules["quern"]
sys.path = [path for path in sys.path if pathlib.Path(path).resolve() != quern.ROOT / "bench"]
sys.path[:0] = [str(quern.ROOT / "python"), str(quern.ROOT / "tests" / "torch_lane")]
import candidates  # noqa: E402


class Asked(Exception):
    """What a candidate's source gives to load_inline."""


def requests_of(names):
    import torch.utils.cpp_extension as extension
    from quern.torch_lane import build

    class Catch:
        def send(self, message):
            raise Asked(message["build"])

    plain = extension.load_inline
    build.intercept(Catch(), "cpu")
    found = {}
    for sample in candidates.SAMPLES:
        if sample.name in names:
            try:
                exec(compile(sample.source, sample.name, "exec"), {})  # noqa: S102  ours
            except Asked as asked:
                found[sample.name] = asked.args[0]
    extension.load_inline = plain
    return found


def renewed(request, number, prefix):
    """The same source, never seen before."""
    mark = f"\n// {number} {time.time()}\n"
    return {**request, "name": f"{prefix}_{number}_{os.getpid()}",
            "cpp": [text + mark for text in request["cpp"]],
            "cuda": [text + mark for text in request["cuda"]]}


def timed(action):
    def spent():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    wall, cpu = time.monotonic(), spent()
    action()
    return [time.monotonic() - wall, spent() - cpu]


def by_pytorch(request, folder):
    import torch.utils.cpp_extension as extension

    os.makedirs(folder, exist_ok=True)
    try:
        extension.load_inline(name=request["name"], cpp_sources=list(request["cpp"]),
                              cuda_sources=list(request["cuda"]) or None,
                              functions=list(request["functions"] or []) or None,
                              extra_cflags=request["extra_cflags"], build_directory=folder)
    except ImportError as error:
        print("built, not loaded here:", error)


def main():
    parser = quern.parser(__doc__, "torch_lane_builds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("names", nargs="*", default=["cpp_matmul"])
    arguments = parser.parse_args()
    os.environ.setdefault("TORCH_CUDA_ARCH_LIST", "9.0")
    from quern.torch_lane import builder, light

    builder.warm_up("cpu")
    figures = {}
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as folder:
        ours = builder.Builder(cache)
        for name, request in requests_of(arguments.names).items():
            rows = {"pytorch": [], "full": [], "light": []}
            maker = light.may_suit
            for number in range(-1, arguments.rounds):  # the first precompiles headers
                for kind in rows:
                    given = renewed(request, number + 1, kind)
                    light.may_suit = maker if kind == "light" else lambda request: False
                    if kind == "pytorch":
                        if number < 0:
                            continue
                        spent = timed(lambda: by_pytorch(given, os.path.join(folder, given["name"])))
                    else:
                        answers = []
                        spent = timed(lambda: answers.append(ours.build(given, folder)))
                        if "path" not in answers[0]:
                            sys.exit(answers[0]["log"])
                    rows[kind] += [spent] if number >= 0 else []
                    print(name, kind, number, spent, flush=True)
            light.may_suit = maker
            median = {kind: [statistics.median(column) for column in zip(*values)]
                      for kind, values in rows.items()}
            figures[name] = {
                "wall_and_cpu_s": median, "samples": rows,
                "wall_ratio": {kind: statistics.median(
                    a[0] / b[0] for a, b in zip(rows["pytorch"], rows[kind]))
                    for kind in ("full", "light")},
                "cpu_ratio": {kind: statistics.median(
                    a[1] / b[1] for a, b in zip(rows["pytorch"], rows[kind]))
                    for kind in ("full", "light")}}
    quern.save(arguments.out, {"builds": figures})


if __name__ == "__main__":
    main()
