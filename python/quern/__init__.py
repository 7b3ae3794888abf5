# SPDX-License-Identifier: Apache-2.0
"""Quern's Python side: it speaks to the binary through files and JSON, never through its insides."""
