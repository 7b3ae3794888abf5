// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace quern {

/// Takes from this process, all its threads included, the system calls that a device worker needs
/// no more once it has its device: starting programs and processes, sockets, looking into other
/// processes, mounting, changing limits of others. They fail with EPERM from now on. Returns 0 or
/// an errno.
int filter_worker_calls();

}  // namespace quern
