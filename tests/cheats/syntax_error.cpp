// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: compile_failed
// Is not C++.

extern "C" void relu( {
