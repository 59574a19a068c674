#include "cli/fetch_task.h"

#include <algorithm>
#include <numeric>

#include "msa/base/error.h"
#include "msa/kernels/content_rows.h"
#include "msa/memory/segment_layout.h"

namespace msa::cli {
namespace {

/// A step through [0, count) that comes to every place before any comes again, and to none near
/// the one before.
int64_t step_through(int64_t count) {
  int64_t step = static_cast<int64_t>(static_cast<double>(count) * 0.6180339887) | 1;
  while (std::gcd(step, count) != 1) step += 2;
  return step;
}

/// A document's record as the bank holds it, [L][chunks][2 (K, V)][F], rounded.
std::vector<BFloat16> stored_record(const memory::BankSegments& segments, int64_t document) {
  const memory::BankFacts& facts = segments.facts();
  const int64_t num_rows = facts.shape.num_layers * segments.num_chunks(document) * 2;
  std::vector<std::byte> stored(num_rows * memory::content_layout(facts).row_bytes);
  segments.read_record(document, 0, stored);
  std::vector<float> values(num_rows * facts.shape.key_dim());
  kernels::dequantize_content({.row = stored.data(),
                               .num_rows = num_rows,
                               .num_kv_heads = facts.shape.num_kv_heads,
                               .head_dim = facts.shape.head_dim,
                               .type = facts.content_type,
                               .out = values.data()});
  std::vector<BFloat16> record(values.size());
  std::ranges::transform(values, record.begin(), to_bfloat16);
  return record;
}

}  // namespace

FetchTask::FetchTask(const kernels::Gpu& gpu, const memory::GpuSource& source, int64_t documents,
                     int64_t document_chunks)
    : gpu_(gpu),
      source_(source),
      num_documents_(documents),
      capacity_(documents * document_chunks),
      stream_(gpu),
      selected_(gpu, source.shape().num_layers * documents),
      rows_(gpu, 2 * source.shape().num_layers * capacity_ * source.shape().key_dim()),
      counts_(gpu, 2) {}

void FetchTask::choose(int64_t number) {
  const int64_t count = source_.num_documents();
  const int64_t step = step_through(count);
  const int64_t num_chosen = num_layers() * num_documents_;
  std::vector<kernels::ScoredDocument> chosen;
  for (int64_t i = 0; i < num_chosen; ++i) {
    chosen.push_back({.document = (number * num_chosen + i) % count * step % count});
  }
  gpu_.library().copy(selected_.data(), chosen.data(), selected_.num_bytes());
  documents_.clear();
  for (const auto& choice : chosen) documents_.push_back(choice.document);
}

void FetchTask::run() {
  for (int64_t layer = 0; layer < num_layers(); ++layer) {
    source_.gather(layer, selected_.data() + layer * num_documents_, num_documents_,
                   {.key = key(layer),
                    .value = key(layer) + capacity() * source_.shape().key_dim(),
                    .capacity = capacity(),
                    .num_rows = counts_.data(),
                    .overflow = counts_.data() + 1},
                   stream_.get());
  }
  stream_.synchronize();
}

/// K, then V of a layer.
std::vector<BFloat16> FetchTask::rows(int64_t layer) const {
  std::vector<BFloat16> rows(2 * capacity() * source_.shape().key_dim());
  gpu_.library().copy(rows.data(), key(layer), static_cast<int64_t>(rows.size()) * 2);
  return rows;
}

void FetchTask::expect_fetched(const memory::BankSegments& segments) const {
  const int64_t dim = source_.shape().key_dim();
  for (const int64_t layer : {int64_t{0}, num_layers() - 1}) {
    const auto got = rows(layer);
    int64_t row = 0;
    for (int64_t n = 0; n < num_documents_; ++n) {
      const int64_t document = documents_[layer * num_documents_ + n];
      const int64_t chunks = segments.num_chunks(document);
      const std::vector<BFloat16> record = stored_record(segments, document);
      for (int64_t c = 0; c < chunks; ++c, ++row) {
        for (int64_t part = 0; part < 2; ++part) {
          const auto* wanted = record.data() + ((layer * chunks + c) * 2 + part) * dim;
          if (!std::equal(wanted, wanted + dim, got.data() + (part * capacity() + row) * dim,
                          [](BFloat16 a, BFloat16 b) { return a.bits == b.bits; })) {
            throw Error(ErrorCode::kInternal, "wrong result: document ", document, ", layer ",
                        layer, ", chunk ", c);
          }
        }
      }
    }
  }
}

}  // namespace msa::cli
