#include "msa/memory/tier_plan.h"

#include <algorithm>
#include <sstream>

#include "msa/base/error.h"
#include "msa/kernels/route_batch.h"

namespace msa::memory {
namespace {

constexpr int64_t kMostStaged = 16;

std::string mebibytes(int64_t bytes) {
  constexpr int64_t kMebibyte = 1 << 20;
  return std::to_string((bytes + kMebibyte - 1) / kMebibyte) + " MiB";
}

}  // namespace

Tiers plan_tiers(const TierSizes& sizes, int64_t gpu_bytes, int64_t host_bytes) {
  if (sizes.key_bytes > gpu_bytes) {
    throw Error(ErrorCode::kDevice, "the routing keys need ", sizes.key_bytes,
                " bytes of GPU memory, ", gpu_bytes, " are given");
  }
  Tiers tiers{.key_bytes = sizes.key_bytes, .content_bytes = sizes.content_bytes};
  if (sizes.stored_key_bytes <= gpu_bytes - sizes.key_bytes) {
    tiers.key_bytes += sizes.stored_key_bytes;
  } else if (sizes.stored_key_bytes <= host_bytes) {
    tiers.host_key_bytes = sizes.stored_key_bytes;
    host_bytes -= tiers.host_key_bytes;
  } else {
    throw Error(ErrorCode::kDevice, "the routing keys as stored need ", sizes.stored_key_bytes,
                " bytes, of ", gpu_bytes, " bytes of GPU memory ", gpu_bytes - sizes.key_bytes,
                " are left and ", host_bytes, " of the host's are given");
  }
  const int64_t left = gpu_bytes - tiers.key_bytes;
  if (sizes.content_bytes <= left) return tiers;

  const int64_t table_bytes = sizes.num_documents * static_cast<int64_t>(sizeof(int32_t));
  const int64_t fitting = (left - table_bytes) / sizes.record_bytes;
  tiers.cache_slots = std::clamp<int64_t>(fitting, 0, sizes.num_documents);
  if (tiers.cache_slots > 0) {
    tiers.cache_bytes = table_bytes + tiers.cache_slots * sizes.record_bytes;
  }
  if (sizes.content_bytes <= host_bytes) {
    tiers.content = ContentPlace::kHost;
    return tiers;
  }
  tiers.content = ContentPlace::kDisk;
  const int64_t wanted = std::min(sizes.num_documents, kernels::kMostRouted);
  if (tiers.cache_slots < wanted) {
    throw Error(ErrorCode::kDevice, "the content of ", sizes.content_bytes,
                " bytes stays on disk: it fits neither the GPU nor ", host_bytes,
                " bytes of the host's memory. Keys and ", wanted, " documents need ",
                tiers.key_bytes + table_bytes + wanted * sizes.record_bytes,
                " bytes of GPU memory, ", gpu_bytes, " are given");
  }
  tiers.staging_slots = std::clamp<int64_t>(host_bytes / sizes.record_bytes, 1, kMostStaged);
  return tiers;
}

std::string to_text(const Tiers& tiers) {
  std::ostringstream text;
  text << "routing keys " << mebibytes(tiers.key_bytes) << " on the GPU";
  if (tiers.host_key_bytes > 0) {
    text << " and " << mebibytes(tiers.host_key_bytes) << " in pinned memory";
  }
  text << ", content " << mebibytes(tiers.content_bytes);
  switch (tiers.content) {
    case ContentPlace::kGpu:
      text << " on the GPU";
      return text.str();
    case ContentPlace::kHost:
      text << " in pinned memory";
      break;
    case ContentPlace::kDisk:
      text << " on disk";
      break;
  }
  text << ", " << tiers.cache_slots << " documents cached on the GPU ("
       << mebibytes(tiers.cache_bytes) << ")";
  return text.str();
}

}  // namespace msa::memory
