// SPDX-License-Identifier: Apache-2.0
// task: relu
// expect: compile_failed | launch_failed
// Is empty but for comments.
