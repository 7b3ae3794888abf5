// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: launch_failed
// Has no entry of the task's name.
extern "C" void not_relu() {}
