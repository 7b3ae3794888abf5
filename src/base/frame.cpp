// SPDX-License-Identifier: Apache-2.0
#include "base/frame.h"

#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "base/file.h"

namespace quern {
namespace {

constexpr uint64_t kMaxParts = 4096;
constexpr size_t kWord = sizeof(uint64_t);

void add_word(std::string& text, uint64_t value) {
  char bytes[kWord];
  std::memcpy(bytes, &value, kWord);
  text.append(bytes, kWord);
}

uint64_t word_at(std::string_view text, size_t index) {
  uint64_t value;
  std::memcpy(&value, text.data() + index * kWord, kWord);
  return value;
}

Error bad_frame() { return Error{ErrorKind::kInput, "a message is not one of ours", ""}; }

}  // namespace

std::string encode_frame(const Frame& frame) {
  std::string text;
  add_word(text, frame.size());
  for (const std::string& part : frame) add_word(text, part.size());
  for (const std::string& part : frame) text += part;
  return text;
}

Result<void> write_frame(int fd, const Frame& frame) {
  const std::string text = encode_frame(frame);
  for (size_t done = 0; done < text.size();) {
    const ssize_t wrote = write(fd, text.data() + done, text.size() - done);
    if (wrote < 0 && errno != EINTR) return system_error("write", "a message", errno);
    if (wrote > 0) done += static_cast<size_t>(wrote);
  }
  return {};
}

bool FrameReader::take_in(int fd) {
  char block[65536];
  ssize_t got;
  do {
    got = read(fd, block, sizeof block);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return errno == EAGAIN;
  bytes_.append(block, static_cast<size_t>(got));
  return got > 0;
}

Result<std::optional<Frame>> FrameReader::next() {
  if (bytes_.size() < kWord) return std::optional<Frame>();
  const uint64_t parts = word_at(bytes_, 0);
  if (parts > kMaxParts) return bad_frame();
  const size_t header = (parts + 1) * kWord;
  if (bytes_.size() < header) return std::optional<Frame>();
  uint64_t body = 0;
  for (size_t i = 1; i <= parts; ++i) {
    const uint64_t size = word_at(bytes_, i);
    if (size > limit_bytes_ || (body += size) > limit_bytes_) return bad_frame();
  }
  if (bytes_.size() < header + body) return std::optional<Frame>();
  Frame frame;
  size_t at = header;
  for (size_t i = 1; i <= parts; ++i) {
    frame.push_back(bytes_.substr(at, word_at(bytes_, i)));
    at += frame.back().size();
  }
  bytes_.erase(0, at);
  return std::optional<Frame>(std::move(frame));
}

Result<Frame> decode_frame(std::string_view bytes) {
  FrameReader reader(bytes.size());
  reader.add(bytes);
  QUERN_ASSIGN(std::optional<Frame> frame, reader.next());
  if (!frame || encode_frame(*frame).size() != bytes.size()) return bad_frame();
  return std::move(*frame);
}

}  // namespace quern
