# SPDX-License-Identifier: Apache-2.0
"""Turns PyTorch modules into task files: load, trace at several sizes, write, cross-check."""
