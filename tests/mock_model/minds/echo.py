# SPDX-License-Identifier: Apache-2.0
"""Says what it was told last."""


def reply(request):
    return request["last"]
