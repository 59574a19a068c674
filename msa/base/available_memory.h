#pragma once
// How much memory the process may still take.

#include <cstdint>

namespace msa {

/// Bytes that can be taken without swapping, by the system and, in a container, by the limit of its
/// control group (version 2, that of the mount); 0 where the system does not say.
int64_t available_memory_bytes();

}  // namespace msa
