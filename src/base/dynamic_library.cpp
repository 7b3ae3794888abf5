// SPDX-License-Identifier: Apache-2.0
#include "base/dynamic_library.h"

#include <dlfcn.h>
#include <link.h>

#include "base/strings.h"

namespace quern {

Result<DynamicLibrary> DynamicLibrary::open(const std::vector<std::string>& names) {
  std::vector<std::string> said;
  for (const std::string& name : names) {
    void* handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
      said.emplace_back(dlerror());
      continue;
    }
    DynamicLibrary library;
    library.handle_ = handle;
    link_map* map = nullptr;
    const bool known = dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 && map->l_name[0] != '\0';
    library.path_ = known ? map->l_name : name;
    return library;
  }
  return Error{ErrorKind::kEnvironment, "no library opens: " + join(said, "; "), ""};
}

DynamicLibrary::~DynamicLibrary() {
  if (handle_ != nullptr) dlclose(handle_);
}

void* DynamicLibrary::symbol(const char* name) const {
  return handle_ == nullptr ? nullptr : dlsym(handle_, name);
}

}  // namespace quern
