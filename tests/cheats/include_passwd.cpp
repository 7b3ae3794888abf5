// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: compile_failed | rejected file_access
// hides: root:x:
// Has the compiler show a file in its diagnostics.
#include "/etc/passwd"
