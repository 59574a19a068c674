#include "msa/memory/tier_plan.h"

#include <algorithm>
#include <optional>
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

/// Documents that one layer may choose.
int64_t most_chosen(const TierSizes& sizes) {
  return std::min(sizes.num_documents, kernels::kMostRouted);
}

int64_t table_bytes(const TierSizes& sizes) {
  return sizes.num_documents * static_cast<int64_t>(sizeof(int32_t));
}

/// Places content behind the keys of `tiers`; nothing if it stays on disk without room for the
/// documents of a layer.
std::optional<Tiers> place_content(const TierSizes& sizes, Tiers tiers, int64_t gpu_bytes,
                                   int64_t host_bytes) {
  const int64_t gpu_left = gpu_bytes - tiers.key_bytes;
  const int64_t host_left = host_bytes - tiers.host_key_bytes;
  if (sizes.content_bytes <= gpu_left) return tiers;
  const int64_t fitting = (gpu_left - table_bytes(sizes)) / sizes.record_bytes;
  tiers.cache_slots = std::clamp<int64_t>(fitting, 0, sizes.num_documents);
  if (tiers.cache_slots > 0) {
    tiers.cache_bytes = table_bytes(sizes) + tiers.cache_slots * sizes.record_bytes;
  }
  if (sizes.content_bytes <= host_left) {
    tiers.content = ContentPlace::kHost;
    return tiers;
  }
  tiers.content = ContentPlace::kDisk;
  if (tiers.cache_slots < most_chosen(sizes)) return std::nullopt;
  tiers.staging_slots = std::clamp<int64_t>(host_left / sizes.record_bytes, 1, kMostStaged);
  return tiers;
}

}  // namespace

Tiers plan_tiers(const TierSizes& sizes, int64_t gpu_bytes, int64_t host_bytes) {
  if (sizes.key_bytes > gpu_bytes) {
    throw Error(ErrorCode::kDevice, "the routing keys need ", sizes.key_bytes,
                " bytes of GPU memory, ", gpu_bytes, " are given");
  }
  Tiers tiers{.key_bytes = sizes.key_bytes, .content_bytes = sizes.content_bytes};
  const int64_t left = gpu_bytes - sizes.key_bytes;
  const bool fit_on_host = sizes.stored_key_bytes <= host_bytes;
  if (sizes.stored_key_bytes <= left) {
    Tiers on_gpu = tiers;
    on_gpu.key_bytes += sizes.stored_key_bytes;
    if (const auto placed = place_content(sizes, on_gpu, gpu_bytes, host_bytes)) return *placed;
    if (!fit_on_host) tiers = on_gpu;
  } else if (!fit_on_host) {
    throw Error(ErrorCode::kDevice, "the routing keys as stored need ", sizes.stored_key_bytes,
                " bytes, of ", gpu_bytes, " bytes of GPU memory ", left, " are left and ",
                host_bytes, " of the host's are given");
  }
  if (fit_on_host) {
    tiers.host_key_bytes = sizes.stored_key_bytes;
    if (const auto placed = place_content(sizes, tiers, gpu_bytes, host_bytes)) return *placed;
  }
  const int64_t wanted = most_chosen(sizes);
  throw Error(ErrorCode::kDevice, "the content of ", sizes.content_bytes,
              " bytes stays on disk: it fits neither the GPU nor ",
              host_bytes - tiers.host_key_bytes, " bytes of the host's memory. Keys and ", wanted,
              " documents need ",
              tiers.key_bytes + table_bytes(sizes) + wanted * sizes.record_bytes,
              " bytes of GPU memory, ", gpu_bytes, " are given");
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
