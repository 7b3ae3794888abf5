// SPDX-License-Identifier: Apache-2.0
#include "device/device_worker.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <tuple>

#include "base/clock.h"
#include "base/pipe.h"
#include "base/strings.h"
#include "device/cpu/death.h"
#include "device/device_launcher.h"
#include "device/fault_report.h"
#include "record/json.h"

namespace quern {
namespace {

constexpr double kHousekeepingS = 60;  // anything that runs no candidate code
/// So long an answer is looked for before we sleep: waking up takes longer than most orders.
constexpr int64_t kLookNs = 1'000'000;
constexpr size_t kLargestReply = size_t{256} << 20;

Verdict overrun_verdict(double limit_s) {
  return TimedOut{fmt::format("did not finish within {:.3g} s", limit_s), "", limit_s};
}

}  // namespace

Result<std::unique_ptr<DeviceWorker>> DeviceWorker::start(const WorkerOptions& options) {
  std::unique_ptr<DeviceWorker> worker(new DeviceWorker());
  QUERN_TRY(worker->spawn(options));
  worker->post(to_wire(DeviceOrder::kOpen));
  return worker;
}

Result<void> DeviceWorker::spawn(const WorkerOptions& options) {
  QUERN_TRY(make_directories(options.scratch_dir));
  std::string pattern = options.scratch_dir + "/worker-XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr) return system_error("make", pattern, errno);
  folder_ = pattern;
  start_s_ = options.start_s;
  reader_ = FrameReader(kLargestReply);
  QUERN_ASSIGN(Pipe orders, make_pipe());
  QUERN_ASSIGN(Pipe replies, make_pipe());
  QUERN_ASSIGN(Pipe faults, make_pipe());
  QUERN_ASSIGN(staging_, Staging::make());
  QUERN_ASSIGN(Command command, device_worker_command(options, folder_));
  command.fds = {{orders.read_end.get(), kWorkerOrderFd},
                 {replies.write_end.get(), kWorkerReplyFd},
                 {staging_.fd(), kWorkerStagingFd},
                 {faults.write_end.get(), kWorkerFaultFd}};
  QUERN_ASSIGN(child_, ChildProcess::spawn(command));
  orders_ = std::move(orders.write_end);
  // While we hold a reading end, writing to a dead worker is no signal.
  kept_ = std::move(orders.read_end);
  replies_ = std::move(replies.read_end);
  faults_ = std::move(faults.read_end);
  for (const FileDescriptor* file : {&orders_, &replies_, &faults_}) make_non_blocking(*file);
  return {};
}

DeviceWorker::~DeviceWorker() {
  if (child_) child_->kill();
  child_.reset();
  if (!folder_.empty()) (void)remove_all(folder_);
}

void DeviceWorker::doom() {
  if (child_) child_->doom();
}

bool DeviceWorker::gone() { return !child_ || child_->poll().has_value(); }

std::vector<std::string> DeviceWorker::sandbox_notes() const {
  return child_ ? child_->sandbox().notes : std::vector<std::string>{};
}

std::string DeviceWorker::sandbox_text() const {
  if (!child_) return "";
  // The drivers of GPUs open before they are confined.
  const bool late = properties_.kind == "cuda" && landlock_abi() > 0;
  return late ? "landlock and seccomp once the device is open" : child_->sandbox().text();
}

Result<void> DeviceWorker::await_open() {
  if (opened_) return {};
  auto opened = ask<DeviceProperties>(start_s_, Blame::kNobody);
  if (opened.has_error()) return opened.error();
  if (opened.has_verdict()) {
    return Error{ErrorKind::kInternal, "a device worker blames a candidate for its start", ""};
  }
  properties_ = std::get<0>(opened.value());
  opened_ = true;
  return {};
}

void DeviceWorker::post(std::string order, std::string block) {
  if (end_) return;
  Frame frame = {std::move(order)};
  if (!block.empty()) frame.push_back(std::move(block));
  outgoing_ += encode_frame(frame);
  ++posted_;
  posted_ns_ = steady_now_ns();
  flush();
}

void DeviceWorker::flush() {
  while (!outgoing_.empty()) {
    const ssize_t wrote = write(orders_.get(), outgoing_.data(), outgoing_.size());
    if (wrote <= 0) return;
    outgoing_.erase(0, static_cast<size_t>(wrote));
  }
}

bool DeviceWorker::take_in() { return reader_.take_in(replies_.get()); }

/// What an answer that nobody waits for says of its order, when it failed.
std::optional<Stopped> DeviceWorker::earlier_failure_of(const Answer& answer) const {
  if (answer.status == ReplyStatus::kDone) return std::nullopt;
  if (answer.status == ReplyStatus::kError) {
    if (auto error = from_wire<Error>(answer.payload)) return Stopped{std::get<0>(*error)};
  }
  if (auto text = from_wire<std::string>(answer.payload)) {
    if (const auto json = parse_json(std::get<0>(*text))) {
      if (const auto verdict = from_json<Verdict>(*json)) return Stopped{*verdict};
    }
  }
  return Stopped{Error{ErrorKind::kInternal, "a reply of the device worker is malformed", ""}};
}

/// The answer to the last order posted, `limit_s` after it was posted at the latest. Once the
/// worker has ended, its end.
Outcome<std::string> DeviceWorker::await(double limit_s, Blame blame) {
  const int64_t since_ns = steady_now_ns();
  while (!end_) {
    auto frame = reader_.next();
    if (!frame) break;  // not a frame of ours: no more use
    if (*frame) {
      if ((*frame)->size() != 1 || (*frame)->front().size() < sizeof(ReplyStatus)) break;
      Answer answer;
      const std::string& text = (*frame)->front();
      WireReader(std::string_view(text).substr(0, sizeof answer.status))(answer.status);
      answer.payload = text.substr(sizeof answer.status);
      const auto failed = earlier_failure_of(answer);
      if (failed && !failure_) failure_ = failed;
      if (++answered_ < posted_) continue;
      if (failure_) return *std::exchange(failure_, std::nullopt);
      return answer.payload;
    }
    // An answer that lies there counts, however late we come to look.
    const double left = limit_s - seconds_between(posted_ns_, steady_now_ns());
    if (wait_for_reply(left, since_ns)) {
      if (!take_in()) end_ = end_of(blame, false, limit_s);
    } else if (left <= 0) {
      end_ = end_of(blame, true, limit_s);
    }
  }
  if (!end_) end_ = end_of(blame, false, limit_s);
  return *end_;
}

/// Sends what is left to send; whether something came within `left_s`, or before that.
bool DeviceWorker::wait_for_reply(double left_s, int64_t since_ns) {
  flush();
  const bool looks = opened_ && !properties_.shares_host && steady_now_ns() - since_ns < kLookNs;
  pollfd files[2] = {{replies_.get(), POLLIN, 0}, {orders_.get(), POLLOUT, 0}};
  const double wait_ms = looks ? 0 : std::clamp(std::ceil(left_s * 1e3), 0.0, 1e6);
  poll(files, outgoing_.empty() ? 1 : 2, static_cast<int>(wait_ms));
  return (files[0].revents & (POLLIN | POLLHUP)) != 0;
}

/// Ends the worker, or finds out how it ended.
Stopped DeviceWorker::end_of(Blame blame, bool overran, double limit_s) {
  const bool candidates =
      blame == Blame::kCandidate || (blame == Blame::kLoaded && candidate_loaded_);
  if (candidates && overran) {
    doom();
    return {overrun_verdict(limit_s)};
  }
  std::optional<ExitStatus> status;
  if (!overran) status = child_->wait(1.0);
  if (!status) status = child_->kill();
  child_->drain();
  if (candidates) return {death_verdict(*status)};
  const std::string how = overran               ? fmt::format("did not answer in {:.3g} s", limit_s)
                          : status->signal != 0 ? fmt::format("died of signal {}", status->signal)
                                                : fmt::format("ended ({})", status->exit_code);
  return {Error{ErrorKind::kEnvironment, "the device worker " + how, shorten(child_->err(), 2000)}};
}

std::string DeviceWorker::name_of(BufferId id) const {
  if (id >= kFirstScratchId) {
    const size_t index = id - kFirstScratchId;
    return index < scratch_.size() ? "scratch " + scratch_[index].name : "scratch";
  }
  const auto found = buffers_.find(id);
  return found == buffers_.end() ? "a buffer" : found->second.first;
}

Verdict DeviceWorker::fault_verdict(const FaultReport& report) {
  using Place = FaultReport::Place;
  const std::string name = name_of(report.buffer);
  const std::string printed = shorten(child_->err(), 2000);
  const char* verb = report.wrote != 0 ? "wrote" : "read";
  const std::string breach = report.wrote != 0 ? "out_of_bounds_write" : "out_of_bounds_read";
  if (report.place == Place::kInside) {
    return Rejected{"modified_input", fmt::format("wrote to {} at byte {}", name, report.distance),
                    "inputs are read-only"};
  }
  if (report.place == Place::kPastEnd) {
    return Rejected{
        breach,
        fmt::format("{} past the end of {}, {} bytes from its end", verb, name, report.distance),
        printed};
  }
  if (report.place == Place::kBeforeStart) {
    return Rejected{breach,
                    fmt::format("{} before the start of {}, {} bytes from its start", verb, name,
                                report.distance),
                    printed};
  }
  return Crashed{fmt::format("crashed {} address {:#x}, which is not its memory",
                             report.wrote != 0 ? "writing to" : "reading", report.address),
                 printed, report.signal};
}

Verdict DeviceWorker::death_verdict(const ExitStatus& status) {
  FaultReport report;
  const bool reported = read(faults_.get(), &report, sizeof report) == sizeof report;
  if (reported && (report.signal == SIGSEGV || report.signal == SIGBUS)) {
    return fault_verdict(report);
  }
  const std::string printed = shorten(child_->err(), 2000);
  if (status.signal == 0) {
    return Crashed{fmt::format("ended its process with exit code {}", status.exit_code), printed,
                   0};
  }
  return Crashed{signal_meaning(status.signal), printed, status.signal};
}

template <class... T>
Outcome<std::tuple<T...>> DeviceWorker::ask(double limit_s, Blame blame) {
  auto text = await(limit_s, blame);
  if (!text) return pass_on(text);
  auto values = from_wire<T...>(text.value());
  if (values) return std::move(*values);
  return Error{ErrorKind::kInternal, "a reply of the device worker is malformed", ""};
}

void DeviceWorker::allocate(BufferId id, uint64_t bytes, Placement placement,
                            const std::string& name) {
  buffers_[id] = {name, bytes};
  post(to_wire(DeviceOrder::kAllocate, id, bytes, placement));
}

void DeviceWorker::release(BufferId id) {
  buffers_.erase(id);
  post(to_wire(DeviceOrder::kRelease, id));
}

void DeviceWorker::allow(BufferId id, DeviceAccess access) {
  post(to_wire(DeviceOrder::kAllow, id, access));
}

void DeviceWorker::fill(BufferId id, uint8_t byte) { post(to_wire(DeviceOrder::kFill, id, byte)); }

void DeviceWorker::copy(BufferId to, BufferId from) { post(to_wire(DeviceOrder::kCopy, to, from)); }

void DeviceWorker::exchange(BufferId shown, BufferId hidden) {
  post(to_wire(DeviceOrder::kExchange, shown, hidden));
}

void DeviceWorker::forget_kept() { post(to_wire(DeviceOrder::kForgetKept)); }

void DeviceWorker::draw(BufferId id, const DrawOrder& order) {
  post(to_wire(DeviceOrder::kDraw, id, order));
}

void DeviceWorker::alter(BufferId id, const DrawOrder& order, uint64_t places) {
  post(to_wire(DeviceOrder::kAlter, id, order, places));
}

void DeviceWorker::apply(ProgramId id, uint32_t set) {
  post(to_wire(DeviceOrder::kApply, id, set));
}

Outcome<Done> DeviceWorker::settle() {
  if (answered_ == posted_ && !end_) return Done{};
  auto settled = await(kHousekeepingS, Blame::kLoaded);
  if (!settled) return pass_on(settled);
  return Done{};
}

Outcome<Done> DeviceWorker::upload(BufferId id, std::span<const std::byte> bytes) {
  if (auto settled = settle(); !settled) return settled;  // staging memory is free again
  auto block = staging_.view(bytes.size());
  if (!block) return block.error();
  std::ranges::copy(bytes, block->begin());
  post(to_wire(DeviceOrder::kUpload, id, static_cast<uint64_t>(bytes.size())));
  return settle();
}

Outcome<Done> DeviceWorker::download(BufferId id, std::span<std::byte> bytes) {
  if (auto settled = settle(); !settled) return settled;
  auto block = staging_.view(bytes.size());
  if (!block) return block.error();
  post(to_wire(DeviceOrder::kDownload, id, static_cast<uint64_t>(bytes.size())));
  if (auto settled = settle(); !settled) return settled;
  std::ranges::copy(*block, bytes.begin());
  return Done{};
}

Outcome<Inspection> DeviceWorker::inspect(const InspectOrder& order) {
  post(to_wire(DeviceOrder::kInspect, order));
  auto answer = ask<Inspection>(kHousekeepingS, Blame::kLoaded);
  if (!answer) return pass_on(answer);
  Inspection& found = std::get<0>(answer.value());
  if (!found.intact || (found.counts.size() == order.compares.size() &&
                        found.digests.size() == order.digested.size())) {
    return std::move(found);
  }
  return Error{ErrorKind::kInternal, "the device worker did not look at everything", ""};
}

Outcome<Done> DeviceWorker::load_own(ProgramId id, const std::string& image, const BoundPlan& plan,
                                     const std::vector<BufferSet>& sets) {
  post(to_wire(DeviceOrder::kLoad, id, plan, sets), image);
  auto answer = ask<std::vector<KernelResources>>(kHousekeepingS, Blame::kLoaded);
  if (!answer) return pass_on(answer);
  return Done{};
}

Outcome<std::vector<KernelResources>> DeviceWorker::load(ProgramId id, const std::string& image,
                                                         const BoundPlan& plan,
                                                         const std::vector<BufferSet>& sets,
                                                         double limit_s) {
  if (auto settled = settle(); !settled) return pass_on(settled);
  candidate_loaded_ = true;
  scratch_ = plan.scratch;
  post(to_wire(DeviceOrder::kLoad, id, plan, sets), image);
  auto answer = ask<std::vector<KernelResources>>(limit_s, Blame::kCandidate);
  if (!answer) return pass_on(answer);
  return std::move(std::get<0>(answer.value()));
}

void DeviceWorker::unload(ProgramId id) {
  post(to_wire(DeviceOrder::kUnload, id));
  if (!properties_.shares_host) candidate_loaded_ = false;
}

void DeviceWorker::poison_scratch(ProgramId id, uint8_t byte) {
  post(to_wire(DeviceOrder::kPoisonScratch, id, byte));
}

Outcome<std::vector<double>> DeviceWorker::run_order(ProgramId id, int calls, int first,
                                                     int batches, double limit_s) {
  post(to_wire(DeviceOrder::kRun, id, calls, first, batches));
  auto answer = ask<Ran>(limit_s, Blame::kCandidate);
  const int64_t end_ns = steady_now_ns();
  if (!answer) {
    if (!end_) end_ = pass_on(answer);
    return pass_on(answer);
  }
  std::vector<double>& ns = std::get<0>(answer.value()).ns;
  clock_mhz_ = std::get<0>(answer.value()).clock_mhz;
  if (ns.size() != static_cast<size_t>(batches)) {
    return Error{ErrorKind::kInternal, "the device worker ran another number of batches", ""};
  }
  if (properties_.shares_host) ns.front() = static_cast<double>(end_ns - posted_ns_);
  return std::move(ns);
}

Outcome<std::vector<double>> DeviceWorker::run(ProgramId id, int calls, int first, int batches,
                                               double limit_s) {
  // Elsewhere nothing needs to be waited for: the clock is the device's.
  if (!properties_.shares_host) return run_order(id, calls, first, batches, limit_s);
  std::vector<double> all;
  for (int batch = 0; batch < batches; ++batch) {
    if (auto settled = settle(); !settled) return pass_on(settled);
    auto ran = run_order(id, calls, first, 1, limit_s);
    if (!ran) return ran;
    all.push_back(ran->front());
  }
  return all;
}

Outcome<double> DeviceWorker::run(ProgramId id, int calls, int first, double limit_s) {
  auto ran = run(id, calls, first, 1, limit_s);
  if (!ran) return pass_on(ran);
  return ran->front();
}

Outcome<Profile> DeviceWorker::profile(ProgramId id, double limit_s) {
  post(to_wire(DeviceOrder::kProfile, id));
  auto answer = ask<Profile>(limit_s, Blame::kCandidate);
  if (!answer) return pass_on(answer);
  return std::move(std::get<0>(answer.value()));
}

void DeviceWorker::post_compile(const DeviceCompileJob& job) {
  post(to_wire(DeviceOrder::kCompile, job));
}

int DeviceWorker::reply_fd() const { return end_ ? -1 : replies_.get(); }

std::optional<Outcome<DeviceBinary>> DeviceWorker::collect(double limit_s) {
  const bool late = seconds_between(posted_ns_, steady_now_ns()) >= limit_s;
  if (!end_ && !late) {
    flush();
    pollfd file = {replies_.get(), POLLIN, 0};
    if (poll(&file, 1, 0) == 0) return std::nullopt;
    if (!take_in()) {
      end_ = end_of(Blame::kCandidate, false, limit_s);
    } else {
      FrameReader peek = reader_;  // a part of a frame is not an answer yet
      const auto whole = peek.next();
      if (whole && !*whole) return std::nullopt;
    }
  }
  auto text = await(limit_s, Blame::kCandidate);
  if (text.has_error()) return Outcome<DeviceBinary>(text.error());
  if (text.has_verdict()) {
    if (std::holds_alternative<CompileFailed>(text.verdict())) {
      return Outcome<DeviceBinary>(text.verdict());
    }
    const bool hung = std::holds_alternative<TimedOut>(text.verdict());
    return Outcome<DeviceBinary>(Verdict(
        CompileFailed{hung ? fmt::format("the compiler did not finish within {:.3g} s", limit_s)
                           : "the compiler " + verdict_reason(text.verdict()),
                      verdict_evidence(text.verdict())}));
  }
  auto values = from_wire<DeviceBinary>(text.value());
  if (!values) return Outcome<DeviceBinary>(Error{ErrorKind::kInternal, "malformed reply", ""});
  return Outcome<DeviceBinary>(std::move(std::get<0>(*values)));
}

}  // namespace quern
