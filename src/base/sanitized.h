// SPDX-License-Identifier: Apache-2.0
#pragma once

/// QUERN_SANITIZED is defined where AddressSanitizer or ThreadSanitizer watches, which take address
/// space and memory of their own. GCC says so by macros, clang by features.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define QUERN_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define QUERN_SANITIZED
#endif
#endif
