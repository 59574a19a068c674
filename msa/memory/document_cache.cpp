#include "msa/memory/document_cache.h"

#include <algorithm>
#include <numeric>
#include <unordered_set>

#include "msa/base/error.h"

namespace msa::memory {

DocumentCache::DocumentCache(const kernels::Gpu& gpu, const DocumentCacheOptions& options)
    : gpu_(gpu),
      options_(options),
      table_(gpu, options.num_documents * static_cast<int64_t>(sizeof(int32_t))),
      records_(gpu, options.num_slots * options.slot_bytes),
      changes_(gpu, options.num_slots * static_cast<int64_t>(sizeof(kernels::SlotChange))),
      free_(options.num_slots),
      tables_(gpu, true),
      copies_(gpu),
      kept_(gpu) {
  const std::vector<int32_t> none(options.num_documents, -1);
  table_.copy_from_host(none.data());
  std::iota(free_.rbegin(), free_.rend(), 0);  // slot 0 is taken first
}

DocumentCache::~DocumentCache() {
  try {
    tables_.synchronize();
    copies_.synchronize();
  } catch (...) {  // NOLINT(bugprone-empty-catch): told by who uses the GPU next
  }
}

void DocumentCache::keep(std::span<const int64_t> documents, const Fill& fill) {
  const std::lock_guard lock(change_mutex_);
  keep_locked(documents, fill);
}

void DocumentCache::read(kernels::CudaStream stream, const std::function<void()>& queue_read) {
  const std::lock_guard lock(read_mutex_);
  queue_read();
  reads_.try_emplace(stream, gpu_).first->second.record(stream);
}

void DocumentCache::read(std::span<const int64_t> documents, const Fill& fill,
                         kernels::CudaStream stream, const std::function<void()>& queue_read) {
  const std::lock_guard lock(change_mutex_);
  keep_locked(documents, fill);
  kept_.await(stream);
  read(stream, queue_read);
}

void DocumentCache::keep_locked(std::span<const int64_t> documents, const Fill& fill) {
  std::vector<int64_t> missing = find_missing(documents);
  if (missing.empty()) return;
  copies_.synchronize();  // changes_ has been read, and all residents are in their slots
  make_room(missing.size());
  await_reads(copies_.get());
  std::vector<Entry> entries;
  std::vector<Resident> added;
  for (size_t i = 0; i < missing.size(); ++i) {
    const int32_t slot = free_[free_.size() - 1 - i];
    added.push_back({.document = missing[i], .slot = slot});
    entries.push_back(
        {.document = missing[i], .slot = records_.data() + slot * options_.slot_bytes});
  }
  fill(entries, copies_.get());
  set_slots(added, copies_.get());
  kept_.record(copies_.get());
  for (const Resident& resident : added) {
    residents_.push_front(resident);
    found_[resident.document] = residents_.begin();
  }
  free_.resize(free_.size() - added.size());
}

/// The documents that are not there, each once and as many as there can be. Those that are there
/// come first afterwards, so that they are not among those that leave.
std::vector<int64_t> DocumentCache::find_missing(std::span<const int64_t> documents) {
  std::unordered_set<int64_t> seen;
  std::vector<int64_t> missing;
  for (const int64_t document : documents) {
    if (document < 0 || static_cast<int64_t>(seen.size()) == options_.num_slots ||
        !seen.insert(document).second) {
      continue;
    }
    const auto found = found_.find(document);
    if (found == found_.end()) {
      missing.push_back(document);
    } else {
      residents_.splice(residents_.begin(), residents_, found->second);
    }
  }
  return missing;
}

/// Frees slots until there are as many.
void DocumentCache::make_room(size_t num_slots) {
  std::vector<Resident> leaving;
  while (free_.size() < num_slots) {
    leaving.push_back(residents_.back());
    found_.erase(leaving.back().document);
    free_.push_back(leaving.back().slot);
    residents_.pop_back();
    leaving.back().slot = -1;
  }
  if (leaving.empty()) return;
  if (options_.is_only_copy) await_reads(tables_.get());
  set_slots(leaving, tables_.get());
  tables_.synchronize();
}

/// What is queued on `stream` from now on comes behind all reads so far.
void DocumentCache::await_reads(kernels::CudaStream stream) {
  const std::lock_guard lock(read_mutex_);
  for (const auto& [reader, last] : reads_) last.await(stream);
}

void DocumentCache::set_slots(std::span<const Resident> changes, kernels::CudaStream stream) {
  auto* out = reinterpret_cast<kernels::SlotChange*>(changes_.data());
  std::ranges::transform(changes, out, [](const Resident& change) {
    return kernels::SlotChange{.document = static_cast<int32_t>(change.document),
                               .slot = change.slot};
  });
  gpu_.library().set_slots(out, static_cast<int64_t>(changes.size()),
                           reinterpret_cast<int32_t*>(table_.data()), stream);
}

}  // namespace msa::memory
