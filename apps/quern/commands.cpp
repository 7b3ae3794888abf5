// SPDX-License-Identifier: Apache-2.0
#include "commands.h"

#include <CLI/CLI.hpp>
#include <string>

namespace quern::cli {
namespace {

constexpr Command kCommands[] = {
    {"doctor", "Say what this machine can do, what is missing, and how to get it", add_doctor,
     "  quern doctor            check compilers, sandbox and libraries; measure the machine\n"
     "  quern doctor --quick    without the measurements\n"},
    {"tasks", "List the tasks, or show, check or run one", add_tasks,
     "  quern tasks                     every task with its sizes\n"
     "  quern tasks softmax             one task, as text\n"
     "  quern tasks --check softmax     is its check able to catch wrong kernels?\n"},
    {"optimize", "Find a faster kernel for a task, and prove it right", add_optimize,
     "  quern optimize softmax                    64 candidates, CPU sizes\n"
     "  quern optimize softmax --budget 5m        for five minutes\n"
     "  quern optimize my_op.task --size full     a task of yours, at its published size\n"
     "  quern optimize my_model.py                a PyTorch module, imported first\n"},
    {"eval", "Compile, verify and time one kernel of yours", add_eval,
     "  quern eval softmax my_softmax.cpp\n"
     "  quern eval softmax my_softmax.cpp --json | jq .verdict\n"
     "  quern eval my_model.py my_model_new.py    a PyTorch module that stands in for another\n"},
    {"compare", "Time two kernels against each other, paired and interleaved", add_compare,
     "  quern compare softmax old.cpp new.cpp\n"},
    {"import", "Turn PyTorch modules into tasks", add_import,
     "  quern import my_model.py                  one module with example inputs\n"
     "  quern import tasks.jsonl --out imported   a benchmark's file of them\n"},
    {"profile", "Say what a CUDA kernel takes of the hardware, and what stands out", add_profile,
     "  quern profile relu examples/cuda/relu.cu\n"
     "  quern profile softmax my_softmax.cu --arch sm_90a --json\n"},
    {"resume", "Go on with a run that was interrupted or killed", add_resume,
     "  quern resume runs/softmax-cpu-001\n"
     "  quern resume runs/softmax-cpu-001 --budget 256    with a larger budget\n"},
    {"replay", "Run a recorded search again, without models or compilers", add_replay,
     "  quern replay runs/softmax-cpu-001                    is it the same, bit for bit?\n"
     "  quern replay runs/softmax-cpu-001 --recipe stark     what would another method have "
     "done?\n"},
    {"bench", "Run a suite of tasks, or compare search methods", add_bench,
     "  quern bench starter --budget 64\n"
     "  quern bench tasks.jsonl --candidates runs/mine --samples 10\n"
     "  quern bench recipes rules stark --tasks relu softmax --equal calls=40 --model openai/…\n"},
    {"report", "Write the HTML report of a run", add_report,
     "  quern report runs/softmax-cpu-001 --out softmax.html\n"},
    {"export", "Write the best kernel of a run as a library with C, C++ and PyTorch wrappers",
     add_export,
     "  quern export runs/softmax-cpu-001\n"
     "  quern export runs/softmax-cpu-001 --out softmax && pip install ./softmax/python\n"},
    {"actions", "List the transformations that plans are made of", add_actions,
     "  quern actions\n"
     "  quern actions softmax\n"
     "  quern actions softmax --target cuda\n"},
    {"recipes", "List the search methods, or explain one", add_recipes,
     "  quern recipes\n"
     "  quern recipes stark\n"},
    {"completion", "Print the completion script of a shell", add_completion,
     "  source <(quern completion bash)\n"
     "  quern completion zsh > ~/.zfunc/_quern\n"
     "  quern completion fish > ~/.config/fish/completions/quern.fish\n"},
};

}  // namespace

std::span<const Command> commands() { return kCommands; }

void declare(CLI::App& app, Context& context, Action& action) {
  app.name("quern");
  app.description(
      "Turns an operator and a piece of hardware into a fast kernel that is proven "
      "right.");
  app.set_version_flag("--version", "quern " QUERN_VERSION);
  app.require_subcommand(0, 1);
  app.footer(
      "First steps:\n"
      "  quern doctor                      is this machine ready?\n"
      "  quern tasks                       what is there to optimize?\n"
      "  quern optimize softmax            find a fast kernel; ends with a report\n"
      "\n"
      "`quern COMMAND --help` says more. Every command takes --json: stdout is then exactly one\n"
      "JSON value. Exit codes: 0 improved or passed, 1 internal error, 2 usage, 3 incorrect\n"
      "kernel, 4 no improvement, 5 environment, 6 budget exhausted, 7 timeout, 8 rejected as\n"
      "cheating, 130 interrupted.");
  for (const Command& command : commands()) {
    CLI::App* sub = app.add_subcommand(command.name, command.summary);
    sub->footer(std::string("Examples:\n") + command.examples);
    sub->add_flag("--json", context.json, "Print the result as one JSON value on stdout");
    Action run = command.add(*sub);
    sub->callback([&action, run] { action = run; });
  }
}

}  // namespace quern::cli
