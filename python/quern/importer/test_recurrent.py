# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers become statements that read themselves one step earlier."""
import pytest

pytest.importorskip("torch")

from quern.importer.convert import Converter, drop_unused  # noqa: E402
from quern.importer.source import Item  # noqa: E402
from quern.importer.trace import Untraceable  # noqa: E402

LAYER = """
import torch
import torch.nn as nn
batch, seq, width, hidden = 3, 512, 10, 16
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.r = nn.{layer}
    def forward(self, x):
        return {result}
def get_inputs():
    return [torch.rand({shape}, width)]
"""


def converted(layer: str, result: str, shape: str = "batch, seq"):
    code = LAYER.format(layer=layer, result=result, shape=shape)
    return Converter(Item("sample", code, origin="test")).convert()


def test_a_long_lstm_is_three_statements_over_a_free_number_of_steps():
    task = converted("LSTM(width, hidden, batch_first=True)", "self.r(x)[0]")
    assert "seq = 512" in task.text and task.sets["tiny"]["seq"] < 10
    body = [line for line in task.text.splitlines() if " = " in line and "[i < batch" in line]
    assert len(body) == 3
    assert "(lstm_hidden[i, t - 1, l] else 0)" in body[0]
    assert "(lstm_cell[i, t - 1, j] else 0)" in body[1]
    assert body[2].startswith("output lstm_hidden[i < batch, t < seq, j < hidden] =")


def test_the_new_gate_of_a_gru_scales_the_states_projection_and_its_bias():
    task = converted("GRU(width, hidden)", "self.r(x)[1]", "seq, batch")
    assert "gru_gates[t < seq, i < batch, j < hidden * 3] = r_bias_hh_l0[j] + (sum[l < hidden] " \
           "r_weight_hh_l0[j, l] * (gru_hidden[t - 1, i, l] else 0))" in task.text
    assert "sigmoid(gru[t, i, j] + gru_gates[t, i, j]) * gru_gates[t, i, 2 * hidden + j])" in \
        task.text
    assert "gru_hidden[seq - 1, j, l]" in task.text


def test_the_second_direction_reads_later_steps_and_ends_at_the_first():
    task = converted("RNN(width, hidden, bidirectional=True, bias=False)", "self.r(x)[1]",
                     "seq, batch")
    assert "rnn_tanh_hidden_2[t + 1, i, l] else 0" in task.text
    assert "select(i == 0, rnn_tanh_hidden[seq - 1, j, l], rnn_tanh_hidden_2[0, j, l])" in \
        task.text
    assert "bias" not in task.text


def test_dropout_between_layers_makes_an_lstm_opaque():
    with pytest.raises(Untraceable, match="dropout"):
        converted("LSTM(width, hidden, 2, dropout=0.5)", "self.r(x)[0]", "seq, batch")


def test_members_of_a_recurrence_stay_where_only_one_of_them_is_read():
    lines = ["g[t] = h[t - 1]", "c[t] = g[t] + c[t - 1]", "h[t] = c[t]", "spare[t] = h[t]",
             "output y[i] = c[i]"]
    assert drop_unused(lines) == [*lines[:3], lines[4]]
