#pragma once
// libmsa_cuda_failing.so: libmsa_cuda.so, but an allocation can be told to find no room.

#include <cstdint>

/// Of those that follow, the allocation `number` (0: the next; of GPU memory or of pinned memory)
/// and `count - 1` behind it find no room. May be called while others allocate.
extern "C" void msa_fail_allocations(int64_t number, int64_t count);

/// Allocations since then.
extern "C" int64_t msa_allocations_since();
