// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: compile_failed
// Includes what is not there.
#include <no/such/header.h>

extern "C" void relu() {}
