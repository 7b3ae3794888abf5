# SPDX-License-Identifier: Apache-2.0
"""Judges candidates written as PyTorch modules (docs/torch_lane.md).

`quern eval MODULE.py CANDIDATE.py` runs it as `python -m quern.torch_lane`.
"""
