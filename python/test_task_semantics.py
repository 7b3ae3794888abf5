# SPDX-License-Identifier: Apache-2.0
"""What the starter tasks mean, against PyTorch in float64 at the size set `tiny`.

The binary is the environment's QUERN_BIN.
"""
import json
import math
import os
import subprocess

import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional

BINARY = os.environ.get("QUERN_BIN")
pytestmark = pytest.mark.skipif(not BINARY, reason="QUERN_BIN names no binary")


def group_norm(i):
    x = i["x"]
    flat = x.reshape(x.shape[0], -1, *x.shape[3:])
    y = F.group_norm(flat, x.shape[1], i["gamma"].reshape(-1), i["beta"].reshape(-1), 1e-5)
    return y.reshape(x.shape)


def rms_norm(i):
    x = i["x"]
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5) * i["gamma"]


def lstm(i):
    layer = torch.nn.LSTM(i["w"].shape[1], i["u"].shape[1], batch_first=True).double()
    with torch.no_grad():
        layer.weight_ih_l0.copy_(i["w"])
        layer.weight_hh_l0.copy_(i["u"])
        layer.bias_ih_l0.copy_(i["bias"])
        layer.bias_hh_l0.zero_()
        return layer(i["x"], (i["h0"][None], i["c0"][None]))[0].transpose(0, 1)


# Each task's outputs, in order, from its inputs by name.
MEANING = {
    "relu": lambda i: torch.relu(i["x"]),
    "gelu": lambda i: F.gelu(i["x"]),
    "softmax": lambda i: torch.softmax(i["x"], 1),
    "cross_entropy": lambda i: F.cross_entropy(i["x"], i["t"]),
    "layer_norm": lambda i: F.layer_norm(i["x"], i["x"].shape[1:], i["gamma"], i["beta"], 1e-5),
    "rms_norm": rms_norm,
    "group_norm": group_norm,
    "sum_inner": lambda i: i["x"].sum(1),
    "mean_outer": lambda i: i["x"].mean(1),
    "argmax": lambda i: i["x"].argmax(1),
    "cumsum": lambda i: i["x"].cumsum(1),
    "max_pool2d": lambda i: F.max_pool2d(i["x"], 4, 1, 1),
    "avg_pool2d": lambda i: F.avg_pool2d(i["x"], 11),
    "matmul": lambda i: i["a"] @ i["b"],
    "matmul_tall_skinny": lambda i: i["a"] @ i["b"],
    "batch_matmul": lambda i: torch.bmm(i["a"], i["b"]),
    "matmul_bias_gelu": lambda i: F.gelu(F.linear(i["x"], i["w"], i["b"])),
    "conv2d_bias_relu": lambda i: torch.relu(F.conv2d(i["x"], i["k"], i["b"], padding=1)),
    "conv_transpose2d": lambda i: F.conv_transpose2d(
        i["x"], i["k"], stride=2, padding=1, output_padding=1),
    "depthwise_conv2d": lambda i: F.conv2d(i["x"], i["k"], groups=i["x"].shape[1]),
    "lstm": lstm,
    "attention": lambda i: F.scaled_dot_product_attention(i["q"], i["k"], i["v"]),
}


def tensor(entry):
    kind = torch.float64 if entry["dtype"].startswith("f") else torch.int64
    data = [float(v) if isinstance(v, str) else v for v in entry["data"]]
    return torch.tensor(data, dtype=kind).reshape(entry["shape"])


def interpret(name, seed):
    command = [BINARY, "tasks", "--interpret", name, "--size", "tiny", "--seed", str(seed), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_starter_task_has_a_meaning_here():
    done = subprocess.run([BINARY, "tasks", "--names"], capture_output=True, text=True, timeout=60)
    assert sorted(done.stdout.split()) == sorted(MEANING)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", sorted(MEANING))
def test_task_means_what_torch_computes(name, seed):
    record = interpret(name, seed)
    inputs = {key: tensor(entry) for key, entry in record["inputs"].items()}
    (found,) = (tensor(entry) for entry in record["outputs"].values())
    wanted = MEANING[name](inputs)
    assert found.shape == wanted.shape
    if wanted.dtype == torch.int64:
        assert torch.equal(found, wanted)
        return
    scale = max(1.0, wanted.abs().max().item())
    worst = (found - wanted).abs().max().item()
    assert math.isfinite(worst) and worst <= 1e-12 * scale
