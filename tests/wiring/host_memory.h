#pragma once
// Torch's memory on the CPU under watch: where a tensor begins and ends is known, and what nobody
// has written is NaN.

#include <cstdint>

namespace msa::wiring {

/// Whether the bytes lie in one living allocation that torch has made. From any thread.
bool is_allocated(const void* begin, int64_t num_bytes);

}  // namespace msa::wiring
