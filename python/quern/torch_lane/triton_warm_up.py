# SPDX-License-Identifier: Apache-2.0
"""A kernel whose compilation brings in what every kernel's needs. Imports Triton."""
from __future__ import annotations

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia import compiler, driver
from triton.compiler import ASTSource


@triton.jit
def _add_one(x, y, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    tl.store(y + i, tl.load(x + i, mask=i < n) + 1, mask=i < n)


def compile_one(architecture: int) -> None:
    """Compiles it for that architecture, and has Triton remember what it asks of its host."""
    signature = {"x": "*fp32", "y": "*fp32", "n": "i32", "B": "constexpr"}
    source = ASTSource(fn=_add_one, signature=signature, constexprs={"B": 128})
    triton.compile(source, target=GPUTarget("cuda", architecture, 32))
    compiler.get_ptxas_version(architecture)
    driver.library_dirs()
