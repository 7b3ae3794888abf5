# SPDX-License-Identifier: Apache-2.0
"""Names that a task file may or may not use."""
from __future__ import annotations

import re

from quern.importer.source import Item

# For axes, in this order; not k, q, v: names of inputs.
LETTERS = "ijlmnprstu"
# Of the task language and of C++, which kernels are written in.
RESERVED = set("""task sizes let input param output as else inf index select precision exclusive
reverse full mean alignas alignof and and_eq asm auto bitand bitor bool break case catch char class
compl concept const consteval constexpr constinit const_cast continue co_await co_return co_yield
decltype default delete do double dynamic_cast enum explicit export extern false float for friend
goto if inline int long main mutable namespace new noexcept not not_eq nullptr operator or or_eq
private protected public register reinterpret_cast requires restrict return short signed sizeof
static static_assert static_cast std struct switch template this thread_local throw true try typedef
typeid typename union unsigned using virtual void volatile wchar_t while xor xor_eq quern sum prod
max min argmax argmin scan_sum scan_prod scan_max scan_min abs exp log log1p expm1 sqrt rsqrt tanh
erf sin cos floor sign pow relu gelu gelu_tanh sigmoid silu softplus log_sigmoid mish elu selu
leaky_relu hardtanh hardswish hardsigmoid softsign clamp square""".split())


def task_name(item: Item) -> str:
    """A name for a task file and a C function, unlike any word of either language."""
    stem = re.sub(r"^\d+_", "", item.name)
    name = re.sub(r"\W+", "_", stem).strip("_").lower() or "module"
    if item.level is not None:
        name = f"l{item.level}_{item.problem_id}_{name}"
    name = re.sub(r"_+", "_", name)[:60].strip("_")
    return name if name not in RESERVED and not name[0].isdigit() else f"module_{name}"
