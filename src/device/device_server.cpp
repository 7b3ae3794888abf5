// SPDX-License-Identifier: Apache-2.0
#include "device/device_server.h"

#include <poll.h>

#include "base/clock.h"
#include "device/device_protocol.h"
#include "record/json.h"

namespace quern {
namespace {

Frame failed(const Error& error) { return {to_wire(ReplyStatus::kError, error)}; }

template <class... T>
Frame done(T... values) {
  return {to_wire(ReplyStatus::kDone, values...)};
}

Frame reply(const Result<void>& result) { return result ? done() : failed(result.error()); }

template <class T>
Frame reply(const Result<T>& result) {
  return result ? done(*result) : failed(result.error());
}

template <class T>
Frame reply(const Outcome<T>& outcome) {
  if (outcome.has_error()) return failed(outcome.error());
  if (outcome.has_verdict()) {
    return {to_wire(ReplyStatus::kVerdict, dump(to_json(outcome.verdict())))};
  }
  return done(outcome.value());
}

/// Returns once there is something to read, or the time is up.
void look_for_more(int file, double look_s) {
  const int64_t begin = steady_now_ns();
  pollfd files[1] = {{file, POLLIN, 0}};
  while (seconds_between(begin, steady_now_ns()) < look_s && poll(files, 1, 0) == 0) {
  }
}

Frame malformed() {
  return failed(Error{ErrorKind::kInternal, "an order to the device worker is malformed", ""});
}

/// Calls `act` with the arguments, if they are what it takes.
template <class... T, class Act>
Frame with(std::string_view arguments, Act act) {
  auto values = from_wire<T...>(arguments);
  if (!values) return malformed();
  return reply(std::apply(act, *values));
}

}  // namespace

Frame DeviceServer::answer(const Frame& order) {
  return order.empty() || order.front().size() < sizeof(DeviceOrder) ? malformed()
                                                                     : dispatch(order);
}

Frame DeviceServer::dispatch(const Frame& frame) {
  uint32_t order = 0;
  std::string_view arguments = frame.front();
  WireReader(arguments.substr(0, sizeof order))(order);
  arguments.remove_prefix(sizeof order);
  switch (static_cast<DeviceOrder>(order)) {
    case DeviceOrder::kOpen: {
      auto opened = backend_.open();
      if (opened) confine_();
      return reply(opened);
    }
    case DeviceOrder::kCompile:
      return with<DeviceCompileJob>(
          arguments, [&](const DeviceCompileJob& job) { return backend_.compile(job); });
    case DeviceOrder::kLoad:
    case DeviceOrder::kUnload:
    case DeviceOrder::kPoisonScratch:
    case DeviceOrder::kApply:
    case DeviceOrder::kRun:
    case DeviceOrder::kProfile:
      return program_order(order, arguments, frame);
    default:
      return memory_order(order, arguments);
  }
}

Frame DeviceServer::memory_order(uint32_t order, std::string_view arguments) {
  using Id = BufferId;
  switch (static_cast<DeviceOrder>(order)) {
    case DeviceOrder::kAllocate:
      return with<Id, uint64_t, Placement>(arguments, [&](Id id, uint64_t bytes, Placement where) {
        return backend_.allocate(id, bytes, where);
      });
    case DeviceOrder::kRelease:
      return with<Id>(arguments, [&](Id id) { return backend_.release(id); });
    case DeviceOrder::kAllow:
      return with<Id, DeviceAccess>(
          arguments, [&](Id id, DeviceAccess access) { return backend_.allow(id, access); });
    case DeviceOrder::kUpload:
      return with<Id, uint64_t>(arguments, [&](Id id, uint64_t bytes) -> Result<void> {
        QUERN_ASSIGN(const auto data, staging_.view(bytes));
        return backend_.upload(id, data);
      });
    case DeviceOrder::kDownload:
      return with<Id, uint64_t>(arguments, [&](Id id, uint64_t bytes) -> Result<void> {
        QUERN_ASSIGN(const auto data, staging_.view(bytes));
        return backend_.download(id, data);
      });
    case DeviceOrder::kCopy:
      return with<Id, Id>(arguments, [&](Id to, Id from) { return backend_.copy(to, from); });
    case DeviceOrder::kFill:
      return with<Id, uint8_t>(arguments,
                               [&](Id id, uint8_t byte) { return backend_.fill(id, byte); });
    case DeviceOrder::kDraw:
      return with<Id, DrawOrder>(
          arguments, [&](Id id, const DrawOrder& draw) { return backend_.draw(id, draw); });
    case DeviceOrder::kAlter:
      return with<Id, DrawOrder, uint64_t>(arguments,
                                           [&](Id id, const DrawOrder& draw, uint64_t places) {
                                             return backend_.alter(id, draw, places);
                                           });
    case DeviceOrder::kExchange:
      return with<Id, Id>(arguments,
                          [&](Id shown, Id hidden) { return backend_.exchange(shown, hidden); });
    case DeviceOrder::kForgetKept:
      return with<>(arguments, [&] { return backend_.forget_kept(); });
    case DeviceOrder::kInspect:
      return with<InspectOrder>(
          arguments, [&](const InspectOrder& inspect) { return backend_.inspect(inspect); });
    default:
      return malformed();
  }
}

Frame DeviceServer::program_order(uint32_t order, std::string_view arguments, const Frame& frame) {
  using Id = ProgramId;
  switch (static_cast<DeviceOrder>(order)) {
    case DeviceOrder::kLoad:
      if (frame.size() != 2) return malformed();
      return with<Id, BoundPlan, std::vector<BufferSet>>(
          arguments, [&](Id id, const BoundPlan& plan, const std::vector<BufferSet>& sets) {
            return backend_.load(id, frame[1], plan, sets);
          });
    case DeviceOrder::kUnload:
      return with<Id>(arguments, [&](Id id) { return backend_.unload(id); });
    case DeviceOrder::kPoisonScratch:
      return with<Id, uint8_t>(
          arguments, [&](Id id, uint8_t byte) { return backend_.poison_scratch(id, byte); });
    case DeviceOrder::kApply:
      return with<Id, uint32_t>(arguments,
                                [&](Id id, uint32_t set) { return backend_.apply(id, set); });
    case DeviceOrder::kRun:
      return with<Id, int, int, int>(arguments,
                                     [&](Id id, int calls, int first, int batches) -> Outcome<Ran> {
                                       auto ns = backend_.run_batches(id, calls, first, batches);
                                       if (!ns) return pass_on(ns);
                                       return Ran{std::move(*ns), backend_.last_clock_mhz()};
                                     });
    case DeviceOrder::kProfile:
      return with<Id>(arguments, [&](Id id) { return backend_.profile(id); });
    default:
      return malformed();
  }
}

int DeviceServer::serve(int orders, int replies, double look_s) {
  constexpr size_t kLargestFrame = size_t{1} << 30;
  FrameReader reader(kLargestFrame);
  while (true) {
    auto frame = reader.next();
    if (!frame) return 1;
    if (!*frame) {
      look_for_more(orders, look_s);
      if (!reader.take_in(orders)) return 0;
      continue;
    }
    if (!write_frame(replies, answer(**frame))) return 0;
  }
}

}  // namespace quern
