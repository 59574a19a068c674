#include "msa/memory/upload.h"

#include <algorithm>
#include <vector>

#include "msa/base/threads.h"

namespace msa::memory {
namespace {

/// Half of what is on the way: it is filled while the other one is copied.
struct Stage {
  Stage(const kernels::Gpu& gpu, int64_t num_bytes) : room(gpu, num_bytes), stream(gpu) {}
  ~Stage() {
    try {
      stream.synchronize();  // the room is still being read
    } catch (...) {          // NOLINT(bugprone-empty-catch): told by who uses the GPU next
    }
  }
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  kernels::PinnedBuffer room;
  kernels::GpuStream stream;
};

constexpr int64_t kStageBytes = 8 * kMostUploaded;

}  // namespace

void upload(const kernels::Gpu& gpu, std::span<const UploadPart> parts) {
  int64_t total = 0;
  int64_t largest = 0;
  for (const UploadPart& part : parts) {
    total += part.num_bytes;
    largest = std::max(largest, part.num_bytes);
  }
  const int64_t num_bytes = std::min(total, std::max(largest, kStageBytes));
  Stage stages[2] = {{gpu, num_bytes}, {gpu, num_bytes}};
  for (int turn = 0; !parts.empty(); turn = 1 - turn) {
    Stage& stage = stages[turn];
    stage.stream.synchronize();
    std::vector<int64_t> place{0};
    for (const UploadPart& part : parts) {
      if (place.back() + part.num_bytes > num_bytes) break;
      place.push_back(place.back() + part.num_bytes);
    }
    const size_t count = place.size() - 1;
    parallel_for(static_cast<int64_t>(count), [&](int64_t i) {
      parts[i].read({stage.room.data() + place[i], static_cast<size_t>(parts[i].num_bytes)});
    });
    for (size_t i = 0; i < count; ++i) {
      gpu.library().copy_async(parts[i].to, stage.room.data() + place[i], parts[i].num_bytes,
                               stage.stream.get());
    }
    parts = parts.subspan(count);
  }
  for (const Stage& stage : stages) stage.stream.synchronize();
}

}  // namespace msa::memory
