// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/cubin.h"

#include <elf.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <optional>

#include "base/hash.h"
#include "base/strings.h"

namespace quern::cuda {
namespace {

// Attributes of the sections .nv.info and .nv.info.<kernel>, read off cubins of CUDA 12 and 13 and
// checked against the assembler's report.
enum Attribute : uint8_t {
  kMaxThreads = 0x05,
  kParameterBank = 0x0a,
  kRequiredThreads = 0x10,
  kFrameSize = 0x11,
  kParameter = 0x17,
  kRegisterCount = 0x2f,
};
constexpr uint8_t kSizedValue = 4;  ///< format of an attribute whose value follows; else 2 bytes

struct Section {
  std::string name;
  Elf64_Shdr header{};
  std::string_view bytes;  ///< empty where the file holds none
};

/// The parts of an ELF file, with every offset checked.
class Elf {
 public:
  static std::optional<Elf> read(std::string_view image) {
    Elf elf;
    elf.image_ = image;
    const auto header = elf.at<Elf64_Ehdr>(0);
    if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
        header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_shentsize != sizeof(Elf64_Shdr)) {
      return std::nullopt;
    }
    for (size_t i = 0; i < header->e_shnum; ++i) {
      const auto section = elf.at<Elf64_Shdr>(header->e_shoff + i * sizeof(Elf64_Shdr));
      if (!section) return std::nullopt;
      elf.sections.push_back({"", *section, elf.content(*section)});
    }
    if (header->e_shstrndx >= elf.sections.size()) return std::nullopt;
    for (Section& section : elf.sections) {
      section.name = text(elf.sections[header->e_shstrndx].bytes, section.header.sh_name);
    }
    elf.read_symbols();
    return elf;
  }

  const Section* find(const std::string& name) const {
    for (const Section& section : sections) {
      if (section.name == name) return &section;
    }
    return nullptr;
  }

  struct Symbol {
    std::string name;
    uint64_t value = 0;
    size_t section = 0;
  };
  std::vector<Section> sections;
  std::vector<Symbol> symbols;

 private:
  template <class T>
  std::optional<T> at(uint64_t offset) const {
    if (offset > image_.size() || image_.size() - offset < sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, image_.data() + offset, sizeof(T));
    return value;
  }

  std::string_view content(const Elf64_Shdr& section) const {
    if (section.sh_type == SHT_NOBITS || section.sh_offset > image_.size() ||
        image_.size() - section.sh_offset < section.sh_size) {
      return {};
    }
    return image_.substr(section.sh_offset, section.sh_size);
  }

  static std::string text(std::string_view table, size_t offset) {
    if (offset >= table.size()) return "";
    return std::string(table.substr(offset, table.find('\0', offset) - offset));
  }

  void read_symbols() {
    for (const Section& section : sections) {
      if (section.header.sh_type != SHT_SYMTAB) continue;
      const std::string_view names =
          section.header.sh_link < sections.size() ? sections[section.header.sh_link].bytes : "";
      for (size_t i = 0; i + sizeof(Elf64_Sym) <= section.bytes.size(); i += sizeof(Elf64_Sym)) {
        Elf64_Sym symbol;
        std::memcpy(&symbol, section.bytes.data() + i, sizeof symbol);
        symbols.push_back({text(names, symbol.st_name), symbol.st_value, symbol.st_shndx});
      }
    }
  }

  std::string_view image_;
};

uint32_t word(std::string_view bytes, size_t index) {
  uint32_t value = 0;
  if ((index + 1) * 4 <= bytes.size()) std::memcpy(&value, bytes.data() + index * 4, 4);
  return value;
}

using Visit = std::function<void(uint8_t attribute, std::string_view value)>;

void for_each_attribute(std::string_view bytes, const Visit& visit) {
  for (size_t at = 0; at + 4 <= bytes.size();) {
    const auto format = static_cast<uint8_t>(bytes[at]);
    const auto attribute = static_cast<uint8_t>(bytes[at + 1]);
    uint16_t half;
    std::memcpy(&half, bytes.data() + at + 2, 2);
    at += 4;
    if (format != kSizedValue) {
      visit(attribute, bytes.substr(at - 2, 2));
      continue;
    }
    if (bytes.size() - at < half) return;
    visit(attribute, bytes.substr(at, half));
    at += half;
  }
}

void read_kernel_attributes(const Section& section, CubinKernel& kernel) {
  for_each_attribute(section.bytes, [&](uint8_t attribute, std::string_view value) {
    if (attribute == kMaxThreads || attribute == kRequiredThreads) {
      // Three extents; the product in 64 bits cannot overflow for what the assembler accepts.
      const uint64_t threads = uint64_t{word(value, 0)} * word(value, 1) * word(value, 2);
      kernel.max_threads = static_cast<int>(std::min<uint64_t>(threads, 1 << 20));
    }
    if (attribute != kParameter || value.size() != 12) return;
    const uint32_t ordinal = word(value, 1) & 0xffff;
    if (ordinal >= 1024) return;
    if (kernel.parameters.size() <= ordinal) kernel.parameters.resize(ordinal + 1);
    kernel.parameters[ordinal] = {word(value, 1) >> 16, word(value, 2) >> 18};
  });
}

/// Relocations of a section, with the symbol replaced by the place it stands for.
void hash_relocations(const Elf& elf, const Section& section, Hasher& hasher) {
  for (size_t i = 0; i + sizeof(Elf64_Rela) <= section.bytes.size(); i += sizeof(Elf64_Rela)) {
    Elf64_Rela relocation;
    std::memcpy(&relocation, section.bytes.data() + i, sizeof relocation);
    const size_t index = ELF64_R_SYM(relocation.r_info);
    std::string place = "?";
    if (index < elf.symbols.size()) {
      const Elf::Symbol& symbol = elf.symbols[index];
      place = std::to_string(symbol.value) + " " +
              (symbol.section < elf.sections.size() ? sha256_hex(elf.sections[symbol.section].bytes)
                                                    : symbol.name);
    }
    hasher.add(std::to_string(relocation.r_offset) + " " +
               std::to_string(ELF64_R_TYPE(relocation.r_info)) + " " +
               std::to_string(relocation.r_addend) + " " + place);
  }
}

/// The kernel that each section belongs to, by its name's end; "" for those of all.
std::vector<std::string> owners_of(const Elf& elf, const std::vector<std::string>& kernels) {
  std::vector<std::string> owners;
  for (const Section& section : elf.sections) {
    std::string owner;
    for (size_t dot = section.name.find('.'); dot != std::string::npos && owner.empty();
         dot = section.name.find('.', dot + 1)) {
      const std::string rest = section.name.substr(dot + 1);
      if (std::ranges::binary_search(kernels, rest)) owner = rest;
    }
    owners.push_back(std::move(owner));
  }
  return owners;
}

std::string hash_of(const Elf& elf, const std::string& kernel,
                    const std::vector<std::string>& owners) {
  Hasher hasher;
  for (size_t i = 0; i < elf.sections.size(); ++i) {
    const Section& section = elf.sections[i];
    const bool own = owners[i] == kernel;
    const bool another = !own && !owners[i].empty();
    const uint32_t type = section.header.sh_type;
    if (another || type == SHT_STRTAB || type == SHT_SYMTAB || type == SHT_NOTE) continue;
    if (section.name.rfind(".debug", 0) == 0 || section.name.rfind(".rela.debug", 0) == 0) continue;
    if (section.name == ".nv.info" || section.name == ".nv.callgraph") continue;
    if (section.name.rfind(".nv.info.", 0) == 0) {
      for_each_attribute(section.bytes, [&](uint8_t attribute, std::string_view value) {
        // The bank's value starts with the number of a symbol.
        if (attribute == kParameterBank && value.size() >= 4) value.remove_prefix(4);
        hasher.add(std::to_string(attribute)).add(value);
      });
    } else if (type == SHT_RELA) {
      hash_relocations(elf, section, hasher);
    } else {
      hasher.add(own ? section.name.substr(0, section.name.size() - kernel.size()) : section.name);
      hasher.add(section.bytes).add(std::to_string(section.header.sh_size));
    }
  }
  return hasher.hex();
}

std::map<std::string, std::pair<uint32_t, uint32_t>> registers_and_frames(const Elf& elf) {
  std::map<std::string, std::pair<uint32_t, uint32_t>> found;
  const Section* section = elf.find(".nv.info");
  if (section == nullptr) return found;
  for_each_attribute(section->bytes, [&](uint8_t attribute, std::string_view value) {
    const size_t symbol = word(value, 0);
    if (value.size() != 8 || symbol >= elf.symbols.size()) return;
    auto& entry = found[elf.symbols[symbol].name];
    if (attribute == kRegisterCount) entry.first = word(value, 1);
    if (attribute == kFrameSize) entry.second = word(value, 1);
  });
  return found;
}

/// The number before `what` in a line; 0 when there is none.
int64_t number_before(std::string_view line, std::string_view what) {
  size_t at = line.find(what);
  if (at == std::string_view::npos) return 0;
  size_t end = line.find_last_not_of(' ', at == 0 ? 0 : at - 1);
  if (end == std::string_view::npos) return 0;
  size_t start = line.find_last_not_of("0123456789", end);
  start = start == std::string_view::npos ? 0 : start + 1;
  return std::atoll(std::string(line.substr(start, end + 1 - start)).c_str());
}

}  // namespace

Result<std::vector<CubinKernel>> read_cubin(std::string_view image) {
  const std::optional<Elf> elf = Elf::read(image);
  if (!elf) return Error{ErrorKind::kInput, "this is not a cubin", ""};
  std::vector<std::string> names;
  for (const Section& section : elf->sections) {
    // A kernel has a section of attributes; a function that it calls may have none.
    const std::string prefix = ".text.";
    if (section.name.rfind(prefix, 0) != 0) continue;
    const std::string name = section.name.substr(prefix.size());
    if (elf->find(".nv.constant0." + name) != nullptr) names.push_back(name);
  }
  std::ranges::sort(names);
  const std::vector<std::string> owners = owners_of(*elf, names);
  const auto counts = registers_and_frames(*elf);
  std::vector<CubinKernel> kernels;
  for (const std::string& name : names) {
    CubinKernel kernel;
    kernel.name = name;
    if (auto found = counts.find(name); found != counts.end()) {
      kernel.registers = static_cast<int>(found->second.first);
      kernel.stack_bytes = found->second.second;
    }
    if (const Section* shared = elf->find(".nv.shared." + name)) {
      kernel.shared_bytes = static_cast<int64_t>(shared->header.sh_size);
    }
    if (const Section* info = elf->find(".nv.info." + name)) read_kernel_attributes(*info, kernel);
    kernel.code_bytes = static_cast<int64_t>(elf->find(".text." + name)->bytes.size());
    kernel.code_hash = hash_of(*elf, name, owners);
    kernels.push_back(std::move(kernel));
  }
  return kernels;
}

void add_assembler_report(std::string_view log, std::vector<CubinKernel>& kernels) {
  CubinKernel* kernel = nullptr;
  for (const std::string& line : split(log, '\n')) {
    constexpr std::string_view kEntry = "Compiling entry function '";
    if (size_t at = line.find(kEntry); at != std::string::npos) {
      const size_t start = at + kEntry.size();
      const std::string name = line.substr(start, line.find('\'', start) - start);
      auto found = std::ranges::find(kernels, name, &CubinKernel::name);
      kernel = found == kernels.end() ? nullptr : &*found;
    }
    if (kernel == nullptr) continue;
    kernel->spill_store_bytes += number_before(line, "bytes spill stores");
    kernel->spill_load_bytes += number_before(line, "bytes spill loads");
    if (line.find(" registers") == std::string::npos) continue;
    kernel->barriers = static_cast<int>(number_before(line, "barriers"));
    // Earlier cubins reserve some of what this section's size says.
    if (line.find("bytes smem") != std::string::npos) {
      kernel->shared_bytes = number_before(line, "bytes smem");
    }
  }
}

}  // namespace quern::cuda
