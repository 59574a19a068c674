#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/pool_chunks.h"
#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

struct Shape {
  int64_t num_kv_heads;
  int64_t head_dim;
  int64_t chunk_tokens;
};

/// Documents of several lengths, some empty, and their chunks.
struct Documents {
  explicit Documents(int64_t chunk_tokens) {
    for (const int64_t length : {1, 64, 0, 65, 500, 3, 128, 0}) {
      offsets.push_back(offsets.back() + length);
      first_chunk.push_back(first_chunk.back() + (length + chunk_tokens - 1) / chunk_tokens);
    }
  }
  int64_t count() const { return static_cast<int64_t>(offsets.size()) - 1; }

  std::vector<int64_t> offsets{0};
  std::vector<int64_t> first_chunk{0};
};

/// Pools columns [first_column, first_column + G * D) of rows of `stride` numbers twice in one
/// launch, as they are and normalised, and compares with the CPU.
void compare_with_cpu(const Shape& shape, NumberType type, int64_t first_column, int64_t stride) {
  const Documents documents(shape.chunk_tokens);
  const int64_t width = shape.num_kv_heads * shape.head_dim;
  const int64_t num_rows = documents.offsets.back();
  const int64_t num_chunks = documents.first_chunk.back();
  const auto narrow_rows = rounded(random_floats(num_rows * stride, 11));
  const auto wide_rows = widened(narrow_rows);
  std::vector<float> side_by_side;
  for (int64_t s = 0; s < num_rows; ++s) {
    const auto row = wide_rows.begin() + s * stride + first_column;
    side_by_side.insert(side_by_side.end(), row, row + width);
  }
  const auto device_narrow = to_device(narrow_rows);
  const auto device_wide = to_device(wide_rows);
  const auto device_offsets = to_device(documents.offsets);
  const auto device_first_chunk = to_device(documents.first_chunk);
  const std::vector<float> unwritten(num_chunks * width, NAN);
  const auto device_means = to_device(unwritten);
  const auto device_normed = to_device(unwritten);
  const void* rows = type == NumberType::kBFloat16
                         ? static_cast<const void*>(device_narrow.get() + first_column)
                         : device_wide.get() + first_column;
  pool_chunks_cuda(
      {.plane = {{rows, stride, device_means.get()}, {rows, stride, device_normed.get(), true}},
       .num_planes = 2,
       .type = type,
       .offsets = device_offsets.get(),
       .first_chunk = device_first_chunk.get(),
       .num_documents = documents.count(),
       .num_chunks = num_chunks,
       .num_kv_heads = shape.num_kv_heads,
       .head_dim = shape.head_dim,
       .chunk_tokens = shape.chunk_tokens},
      nullptr);
  for (const bool normalizes : {false, true}) {
    std::vector<float> wanted = unwritten;
    pool_chunks({.row = side_by_side.data(),
                 .offsets = documents.offsets.data(),
                 .first_chunk = documents.first_chunk.data(),
                 .pooled = wanted.data(),
                 .num_kv_heads = shape.num_kv_heads,
                 .head_dim = shape.head_dim,
                 .chunk_tokens = shape.chunk_tokens,
                 .normalizes = normalizes},
                0, documents.count());
    const auto got = to_host(normalizes ? device_normed : device_means, wanted.size());
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_NEAR(got[i], wanted[i], normalizes ? 1e-6F : 0.0F)
          << "at " << i << " of " << width << " columns, P = " << shape.chunk_tokens << ", type "
          << name_of(type) << ", column " << first_column;
    }
  }
}

TEST(PoolChunksCuda, EqualsTheCpu) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  for (const Shape& shape : {Shape{8, 128, 64}, Shape{2, 64, 16}, Shape{3, 10, 7}}) {
    const int64_t width = shape.num_kv_heads * shape.head_dim;
    for (const NumberType type : {NumberType::kBFloat16, NumberType::kFloat32}) {
      compare_with_cpu(shape, type, 0, width);
      compare_with_cpu(shape, type, 16, width + 40);  // a part of wider rows
      compare_with_cpu(shape, type, 3, width + 8);    // not at multiples of 16 bytes
    }
  }
}

}  // namespace
}  // namespace msa::kernels
