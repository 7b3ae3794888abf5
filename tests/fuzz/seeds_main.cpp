// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

void feed(const std::string& text) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(text.data()), text.size());
}

/// A few edits: bytes changed, spans removed, repeated, or taken from another seed.
std::string mutated(const std::vector<std::string>& seeds, std::mt19937& random) {
  static const std::string kAlphabet = "()[]<>=!+-*/%,:~#\n 019.eabijnxy_?\"\\\xff\x01";
  std::string text = seeds[random() % seeds.size()];
  for (unsigned edits = 1 + random() % 6; edits > 0; --edits) {
    if (text.empty()) break;
    size_t at = random() % text.size(), length = random() % 24;
    const std::string& other = seeds[random() % seeds.size()];
    switch (random() % 5) {
      case 0:
        text[at] = kAlphabet[random() % kAlphabet.size()];
        break;
      case 1:
        text.erase(at, length);
        break;
      case 2:
        text.insert(at, text.substr(at, length));
        break;
      case 3:
        text.insert(at, other.substr(random() % other.size(), length));
        break;
      default:
        text.insert(at, 1, kAlphabet[random() % kAlphabet.size()]);
        break;
    }
  }
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> seeds;
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      std::ostringstream text;
      text << std::ifstream(entry.path(), std::ios::binary).rdbuf();
      if (!text.str().empty()) seeds.push_back(text.str());
    }
  }
  if (seeds.empty()) return 2;
  for (const std::string& seed : seeds) feed(seed);
  std::string head = "task t(n = 2)\ninput x : f32[n]\noutput y[i] = ";
  for (const char* open :
       {"(", "-", "not ", "sum[i] ", "exp(", "x[", "x[i] else ", "1 + ", "select("}) {
    std::string deep = head;
    for (int i = 0; i < 100000; ++i) deep += open;
    feed(deep);
  }
  std::string doubled = head;
  for (int i = 0; i < 150; ++i) doubled += "mish(";
  feed(doubled + "x[i]" + std::string(150, ')') + "\n");
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) feed(mutated(seeds, random));
  std::printf("%zu seeds and their mutations\n", seeds.size());
  return 0;
}
