# SPDX-License-Identifier: Apache-2.0
"""Small modules of every family that the importer covers, for its tests: name, constructor,
forward, inputs. `n`, `c`, `h` and `w` are the sizes of each file."""
from __future__ import annotations

TEMPLATE = """
import torch
import torch.nn as nn
import torch.nn.functional as F

n, c, h, w = 8, 12, 20, 24

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        {init}

    def forward(self, {arguments}):
        {forward}

def get_inputs():
    return [{inputs}]
"""
IMAGE = "torch.rand(n, c, h, w)"
ROWS = "torch.randn(n, c)"
VOLUME = "torch.rand(n, c, 6, h, w)"
LINE = "torch.rand(n, c, w)"

# name: (constructor, forward, inputs...)
SAMPLES: dict[str, tuple[str, ...]] = {
    "activations": ("pass", "return F.elu(x) + F.celu(x) * F.hardswish(x) - F.softplus(x, 2.0) "
                    "+ F.logsigmoid(x) + F.selu(x) + F.mish(x) + F.hardsigmoid(x) + F.relu6(x)",
                    ROWS),
    "more_activations": ("self.p = nn.PReLU(c)", "return self.p(x) + F.softshrink(x, 0.3) + "
                         "F.hardshrink(x) + F.tanhshrink(x) + F.softsign(x) + F.threshold(x, "
                         "0.1, 2.0) + F.glu(torch.cat([x, x], 1)) + F.gelu(x, approximate='tanh')",
                         ROWS),
    "arithmetic": ("pass", "return torch.lerp(x, y, 0.3) + torch.addcmul(x, x, y, value=2) "
                   "+ torch.maximum(x, y) ** 2 + torch.where(x > y, x, -y) + x.clamp(-0.5) "
                   "+ torch.sign(x) * torch.exp2(y) + torch.fmod(x, 0.7) + x.remainder(0.3)",
                   ROWS, ROWS),
    "rounding": ("pass", "return torch.floor(x * 3) + torch.ceil(x * 5) + torch.round(x * 7) "
                 "+ torch.trunc(x * 9) + torch.frac(x)", ROWS),
    "broadcast": ("self.b = nn.Parameter(torch.randn(c, 1, 1))", "return (x + self.b) * "
                  "x.mean(dim=(2, 3), keepdim=True)", IMAGE),
    "logic": ("pass", "m = (x > 0) & ~(x > 1) | (x < -1)\n        return x.masked_fill(m, 0.5) + "
              "m.float() + (x.abs() > 0.2).any(dim=1, keepdim=True)", ROWS),
    "reductions": ("pass", "return x.sum(1) + x.amax(-1) - x.amin(1) + x.var(1) + x.std(1, "
                   "unbiased=False) + x.norm(dim=1) + x.logsumexp(1) + x.abs().prod(1) + "
                   "x.norm(p=1, dim=1) + x.norm(p=3, dim=1)", ROWS),
    "whole_reductions": ("pass", "return x / torch.norm(x, p='fro') + x.max() - x.min() + x.mean()"
                         " + x.sum() + x.var()", ROWS),
    "positions": ("pass", "return x.argmax(1), x.argmin(0), torch.max(x, dim=1), x.argmax()", ROWS),
    "scans": ("pass", "return x.cumsum(1) + x.flip(1).cumsum(1).flip(1) + torch.cumprod(x, 0) + "
              "torch.cummax(x, dim=1)[0]", ROWS),
    "exclusive_scan": ("pass", "return torch.cumsum(torch.cat([torch.zeros_like(x[:, :1]), x], "
                       "dim=1)[:, :-1], dim=1)", ROWS),
    "triangles": ("pass", "m = torch.triu(torch.ones(w, w, dtype=torch.bool), diagonal=1)\n"
                  "        return torch.tril(x, -1) + torch.triu(x, 2) + x.masked_fill(m, 0.0) + "
                  "torch.diag(x.diagonal()) + torch.eye(w)", "torch.rand(w, w)"),
    "views": ("pass", "y = x.view(n, c, h * w).transpose(1, 2)\n        y = y.reshape(n, h, w, c)"
              ".permute(0, 3, 1, 2)\n        return (y + x).flatten(1).unflatten(1, (c, -1))", IMAGE),
    "slices": ("pass", "return x[:, 1:, ::2, -3:] * x[:, :-1, 1::2, 2:5] + "
               "x[:, 0:1, :h // 2, 3].unsqueeze(-1)", IMAGE),
    "joins": ("pass", "a, b, d = torch.split(x, [2, 4, 6], dim=1)\n        "
              "return torch.cat([d, a, b], 1), torch.stack([x, x * 2], 2), torch.chunk(x, 2, 1)[1]",
              IMAGE),
    "pads": ("pass", "return F.pad(x, (1, 2, 0, 3), value=0.5), F.pad(x, (2, 1), mode='reflect'), "
             "F.pad(x, (1, 1), mode='replicate'), F.pad(x, (2, 2), mode='circular')", LINE),
    "rolls": ("pass", "return torch.roll(x, (2, -3), (2, 3)) + x.flip(3) + x.repeat(1, 1, 2, 1)"
              "[:, :, h:] + x.roll(1, 1)", IMAGE),
    "shuffles": ("pass", "y = F.pixel_shuffle(x, 2)\n        return F.pixel_unshuffle(y, 2) + "
                 "F.channel_shuffle(x, 3)", IMAGE),
    "gathers": ("self.e = nn.Embedding(c, w)", "return self.e(t) + x[:, t].sum(1, keepdim=True) + "
                "x.index_select(1, t).mean() + torch.gather(x, 1, t.unsqueeze(1))",
                "torch.randint(0, c, (n,))", ROWS),
    "upsample": ("pass", "return F.interpolate(x, scale_factor=2, mode='nearest')", IMAGE),
    "interpolations": ("pass", "return F.interpolate(x, scale_factor=2, mode='bilinear') + "
                       "F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=True)",
                       IMAGE),
    "columns": ("pass", "return F.unfold(x, 3, padding=1, stride=2)", IMAGE),
    "distances": ("pass", "return torch.cdist(x, x * 2) + torch.cdist(x, x + 1, p=1.0)", LINE),
    "one_hot": ("pass", "return F.one_hot(t, c).float() @ torch.ones(c, 3)",
                "torch.randint(0, c, (n,))"),
    "scatter": ("pass", "y = torch.zeros_like(x)\n        y[:, 1:, :] = x[:, :-1, :]\n        "
                "y[:, :, 0] += 1.0\n        return y", LINE),
    "products": ("pass", "return torch.einsum('bij,bkj->bik', x, x) + x @ x.transpose(1, 2) + "
                 "torch.bmm(x, x.mT)", LINE),
    "matrices": ("pass", "return torch.addmm(z, x, y, beta=0.5, alpha=2) + x @ y + "
                 "torch.outer(x[:, 0], y[0]) + torch.mv(x, y[:, 0]).unsqueeze(1)",
                 "torch.rand(n, c)", "torch.rand(c, w)", "torch.rand(n, w)"),
    "layers": ("self.a = nn.Linear(c, w); self.b = nn.Bilinear(c, c, 5)",
               "return self.a(x).sum(1) + self.b(x, x).mean(1)", ROWS),
    "conv1d": ("self.a = nn.Conv1d(c, 8, 5, stride=2, padding=3, dilation=2, groups=4)",
               "return self.a(x)", LINE),
    "conv2d": ("self.a = nn.Conv2d(c, 6, (3, 5), stride=(2, 1), padding=(1, 2)); "
               "self.b = nn.Conv2d(6, 6, 3, groups=6, padding='same')",
               "return F.relu(self.b(self.a(x)))", IMAGE),
    "conv3d": ("self.a = nn.Conv3d(c, 4, 3, padding=1, bias=False)", "return self.a(x)", VOLUME),
    "transposed": ("self.a = nn.ConvTranspose2d(c, 6, 3, stride=2, padding=1, output_padding=1, "
                   "groups=2)", "return self.a(x)", IMAGE),
    "transposed1d": ("self.a = nn.ConvTranspose1d(c, 5, 4, stride=3, dilation=2)",
                     "return self.a(x)", LINE),
    "pools": ("pass", "return F.max_pool2d(x, 3, 2, 1), F.avg_pool2d(x, 3, 2, 1), "
              "F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), "
              "F.max_pool2d(x, 3, 2, ceil_mode=True)", IMAGE),
    "ceiled_pools": ("pass", "return F.avg_pool1d(x, 4, 3, 2, ceil_mode=True), "
                     "F.max_pool1d(x, 3, 2, 1, 2, ceil_mode=True), "
                     "F.avg_pool1d(x, 2, 5, ceil_mode=True)", LINE),
    "adaptive_pools": ("pass", "return F.adaptive_avg_pool2d(x, 1).flatten(1), "
                       "F.adaptive_avg_pool2d(x, (5, 7)), F.adaptive_max_pool2d(x, 1), "
                       "F.lp_pool2d(x.abs(), 2.0, 2)", IMAGE),
    "norms": ("self.a = nn.BatchNorm2d(c); self.b = nn.GroupNorm(3, c); "
              "self.d = nn.InstanceNorm2d(c, affine=True)",
              "return self.a(x) + self.b(x) + self.d(x) + F.normalize(x, dim=1) + "
              "F.local_response_norm(x, 3)", IMAGE),
    "row_norms": ("self.a = nn.LayerNorm(c); self.b = nn.BatchNorm1d(c, affine=False); "
                  "self.d = nn.RMSNorm(c)", "return self.a(x) + self.b(x) + self.d(x)", ROWS),
    "softmaxes": ("pass", "return F.softmax(x, 1) + F.log_softmax(x, 0) + F.softmin(x, 1)", ROWS),
    "losses": ("pass", "return F.mse_loss(x, y) + F.l1_loss(x, y) + F.smooth_l1_loss(x, y) + "
               "F.huber_loss(x, y, delta=0.4) + F.kl_div(F.log_softmax(x, 1), F.softmax(y, 1), "
               "reduction='batchmean') + F.soft_margin_loss(x, y.sign()) + "
               "F.binary_cross_entropy_with_logits(x, y.sigmoid()) + "
               "F.binary_cross_entropy(x.sigmoid(), y.sigmoid())", ROWS, ROWS),
    "margins": ("pass", "return F.triplet_margin_loss(x, y, x * y) + F.cosine_embedding_loss("
                "x, y, torch.ones(n)) + F.hinge_embedding_loss(x, y.sign()) + "
                "F.margin_ranking_loss(x, y, y.sign()) + F.cosine_similarity(x, y).mean() + "
                "F.pairwise_distance(x, y).mean()", ROWS, ROWS),
    "classes": ("pass", "return F.cross_entropy(x, t) + F.nll_loss(F.log_softmax(x, 1), t) + "
                "F.cross_entropy(x, t, reduction='sum') + "
                "F.cross_entropy(x, t, label_smoothing=0.1)", ROWS, "torch.randint(0, c, (n,))"),
    "weighted_classes": ("self.register_buffer('v', torch.linspace(0.5, 1.5, c))",
                         "return F.cross_entropy(x, t, self.v, label_smoothing=0.1) + "
                         "F.cross_entropy(x, t, ignore_index=1) + F.nll_loss(x, t, self.v, "
                         "ignore_index=2), F.cross_entropy(x, t, self.v, reduction='none'), "
                         "F.cross_entropy(x, x.softmax(1), self.v, label_smoothing=0.2)", ROWS,
                         "torch.randint(0, c, (n,))"),
    "matrix_norms": ("pass", "m = torch.linalg.matrix_norm\n        return m(x, 1) + m(x, -1) + "
                     "m(x, float('inf')) + m(x) + torch.linalg.norm(x, 1, dim=(2, 1))", LINE),
    "scans_and_places": ("pass", "return torch.cummax(x, 1), torch.cummin(x.round(), 1), "
                         "torch.logcumsumexp(x, 1)", ROWS),
    "sums_by_place": ("pass", "y = torch.zeros(n, c)\n        return y.scatter_add(1, t, x), "
                      "y.index_add(1, t[0], x, alpha=2)", ROWS, "torch.randint(0, c, (n, c))"),
    "folds": ("pass", "return F.fold(F.unfold(x, (3, 2), stride=(2, 1), padding=1), (h, w), "
              "(3, 2), stride=(2, 1), padding=1)", IMAGE),
    "tables": ("p = torch.arange(c); r = p[:, None] - p[None, :]; r += c - 1; "
               "m = torch.zeros(c, c); m[:, 2:5] = 1.0; m[1] *= 3; m[-1, :] += 2; "
               "self.register_buffer('r', r); self.register_buffer('m', m); "
               "self.b = nn.Parameter(torch.zeros(2 * c - 1)); nn.init.trunc_normal_(self.b, "
               "std=0.02)", "return self.b[self.r.view(-1)].view(c, c) * self.m + x[0]", ROWS),
    "attention": ("pass", "return F.scaled_dot_product_attention(x, x, x, is_causal=True) + "
                  "F.scaled_dot_product_attention(x, x, x, attn_mask=torch.ones(h, h).tril()"
                  ".bool())", "torch.randn(n, 2, h, w)"),
    "multihead": ("self.a = nn.MultiheadAttention(c, 3, batch_first=True)",
                  "return self.a(x, x, x, need_weights=False)[0]", "torch.randn(n, h, c)"),
    "transformer": ("self.a = nn.TransformerEncoderLayer(c, 2, dim_feedforward=16, dropout=0.0, "
                    "batch_first=True)", "return self.a(x)", "torch.randn(n, h, c)"),
    "order": ("pass", "v, i = torch.sort(x, 1, descending=True)\n        w, j = torch.topk(y, 3, "
              "dim=0, largest=False)\n        return v - i, w + j.float(), x.argsort(0), "
              "x.median(), y.median(1)[0], y.kthvalue(2, dim=0, keepdim=True)[1]", ROWS, ROWS),
    "lstm": ("self.a = nn.LSTM(c, 5, 2, batch_first=True, bidirectional=True)",
             "y, (h, s) = self.a(x)\n        return y, h, s", "torch.randn(n, h, c)"),
    "projected_lstm": ("self.a = nn.LSTM(c, 7, proj_size=3)",
                       "y, (h, s) = self.a(x, (y, z))\n        return y, h, s",
                       "torch.randn(h, n, c)", "torch.randn(1, n, 3)", "torch.randn(1, n, 7)"),
    "gru_and_rnn": ("self.a = nn.GRU(c, 5, bias=False); self.b = nn.RNN(c, 6, nonlinearity='relu',"
                    " bidirectional=True)", "return self.a(x, y)[0], self.b(x)[1]",
                    "torch.randn(h, n, c)", "torch.rand(1, n, 5)"),
    "loop_of_cells": ("self.a = nn.ModuleList([nn.LSTMCell(c, c), nn.LSTMCell(c, c)])",
                      "steps = x.unbind(1)\n        for cell in self.a:\n"
                      "            s, made = (x[:, 0] * 0, x[:, 1]), []\n"
                      "            for step in steps:\n                s = cell(step, s)\n"
                      "                made.append(s[0])\n            steps = made\n"
                      "        return torch.stack(steps, 1)", "torch.randn(n, h, c)"),
    "loop_backwards": ("self.a = nn.Linear(2 * c, c); self.b = nn.LayerNorm(c)",
                       "y, s = [], None\n        for i in reversed(range(x.size(1))):\n"
                       "            s = torch.tanh(x[:, i]) if s is None else torch.softmax(self.b("
                       "self.a(torch.cat([x[:, i], s], 1))), -1) * i\n"
                       "            y.insert(0, s[:, None])\n        return torch.cat(y, 1), s",
                       "torch.randn(n, h, c)"),
    "loop_that_fills": ("self.a = nn.Parameter(torch.rand(c))",
                        "y, s = torch.zeros_like(x), x.new_zeros(n, c)\n"
                        "        for i in range(x.size(1)):\n            s = self.a * s + x[:, i]\n"
                        "            y[:, i] = s * s\n        return y.sum(-1) + s.mean()",
                        "torch.randn(n, h, c)"),
    "loop_two_steps_back": ("self.a = nn.Parameter(torch.rand(c))",
                            "s = r = x.new_zeros(n, c)\n        for i in range(x.size(1)):\n"
                            "            s, r = self.a * s + r + x[:, i], s\n        return s * r",
                            "torch.randn(n, 9, c)"),
    "cells": ("self.a = nn.LSTMCell(c, 6); self.b = nn.GRUCell(c, 6)",
              "s, m = self.a(x)\n        return s * m + self.b(x, s)", ROWS),
    "positions_as_values": ("pass", "t = torch.arange(w)\n        return x * t.float() + "
                            "(t[None, :] <= torch.arange(c)[:, None]).float()", LINE),
    "in_place": ("self.a = nn.ReLU(inplace=True)", "y = x * 2\n        self.a(y)\n        "
                 "y += 1\n        y.mul_(x)\n        return y", ROWS),
}


def source(name: str) -> str:
    """The module file of one sample."""
    init, forward, *inputs = SAMPLES[name]
    names = ["t" if "randint" in text else "x" for text in inputs]
    spare = iter("yzuv")
    for place, one in enumerate(names):
        if one in names[:place]:
            names[place] = next(spare)
    return TEMPLATE.format(init=init, forward=forward, arguments=", ".join(names),
                           inputs=", ".join(inputs))
