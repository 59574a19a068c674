#include <gmock/gmock.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <thread>

#include "msa/base/bfloat16.h"
#include "msa/base/error.h"
#include "msa/kernels/gpu_array.h"
#include "msa/memory/bank_fixture.h"
#include "msa/memory/content_reader.h"
#include "msa/memory/gpu_source.h"

namespace msa::memory {
namespace {

using kernels::ContentType;
using kernels::NumberType;

/// K, then V.
using Rows = std::vector<float>;

constexpr int64_t kPlenty = int64_t{1} << 30;

class GpuSourceCuda : public BankTest {
 protected:
  void SetUp() override {
    try {
      gpu_ = kernels::Gpu::open();
    } catch (const Error& error) {
      GTEST_SKIP() << error.what();
    }
  }

  /// Three segments of 240 passages or so, with dead records between them.
  void write_bank(NumberType key_type, ContentType content_type) {
    BankFacts own = facts();
    own.key_type = key_type;
    own.content_type = content_type;
    for (uint32_t seed = 0; seed < 3; ++seed) {
      commit(*BankWriter::open(real_file_system(), folder(), own), 60 + seed, seed);
    }
    std::vector<std::string> names;
    for (const Document& document : open()->list(0, 1000)) {
      if (document.row % 6 == 2) names.push_back(document.name);
    }
    BankWriter::open(real_file_system(), folder(), own)->forget(names);
    bank_ = open();
    plain_ = bank_->source();
  }

  std::unique_ptr<GpuSource> load(int64_t gpu_bytes, int64_t host_bytes) const {
    return bank_->gpu_source(*gpu_, {.gpu_bytes = gpu_bytes, .host_bytes = host_bytes});
  }

  /// All on the GPU; content in the host's memory without and with a cache; on disk.
  std::vector<std::unique_ptr<GpuSource>> load_all() const {
    std::vector<std::unique_ptr<GpuSource>> sources;
    sources.push_back(load(kPlenty, kPlenty));
    EXPECT_EQ(sources[0]->tiers().content, ContentPlace::kGpu);
    const int64_t keys = sources[0]->tiers().key_bytes;
    const int64_t record = 3 * kShape.num_layers * 2 * gpu_row_bytes(bank_->facts());
    const int64_t table = sources[0]->num_documents() * 4;
    sources.push_back(load(keys, kPlenty));
    EXPECT_EQ(sources[1]->tiers().content, ContentPlace::kHost);
    EXPECT_EQ(sources[1]->tiers().cache_slots, 0);
    sources.push_back(load(keys + table + 10 * record, kPlenty));
    EXPECT_EQ(sources[2]->tiers().content, ContentPlace::kHost);
    EXPECT_EQ(sources[2]->tiers().cache_slots, 10);
    sources.push_back(load(keys + table + 64 * record, 1));
    EXPECT_EQ(sources[3]->tiers().content, ContentPlace::kDisk);
    EXPECT_EQ(sources[3]->tiers().cache_slots, 64);
    sources.push_back(load(keys + table + 64 * record, 5 * record));
    EXPECT_EQ(sources[4]->tiers().staging_slots, 5);
    return sources;
  }

  /// As the bank gives them, rounded.
  Rows wanted(int64_t layer, std::span<const int64_t> documents) const {
    Rows rows = fetched(*plain_, layer, documents);
    for (float& value : rows) value = to_float(to_bfloat16(value));
    return rows;
  }

  static Rows fetched(const ChunkSource& source, int64_t layer,
                      std::span<const int64_t> documents) {
    int64_t num_values = 0;
    for (const int64_t n : documents) num_values += source.num_chunks(n) * kShape.key_dim();
    Rows rows(2 * num_values);
    source.fetch(layer, documents, rows.data(), rows.data() + num_values);
    return rows;
  }

  std::vector<int64_t> some_documents(size_t count, std::mt19937& random) const {
    std::vector<int64_t> documents(count);
    for (int64_t& n : documents) n = static_cast<int64_t>(random() % plain_->num_documents());
    return documents;
  }

  std::unique_ptr<kernels::Gpu> gpu_;
  std::unique_ptr<Bank> bank_;
  std::unique_ptr<ChunkSource> plain_;
};

/// What a session does in a layer: chosen documents stay on the GPU.
class Target {
 public:
  Target(const kernels::Gpu& gpu, int64_t capacity)
      : gpu_(gpu),
        capacity_(capacity),
        key_(gpu, capacity * kWidth * 2),
        value_(gpu, capacity * kWidth * 2),
        selected_(gpu, kernels::kMostRouted * sizeof(kernels::ScoredDocument)),
        counts_(gpu, std::span<const int32_t>(kNothing)),
        stream_(gpu) {}

  kernels::CudaStream stream() const { return stream_.get(); }
  kernels::ScoredDocument* selected() const {
    return reinterpret_cast<kernels::ScoredDocument*>(selected_.data());
  }

  void choose(std::span<const int64_t> documents) {
    std::vector<kernels::ScoredDocument> chosen(kernels::kMostRouted);
    for (size_t i = 0; i < documents.size(); ++i) chosen[i].document = documents[i];
    selected_.copy_from_host(chosen.data());
  }

  Rows gather(const GpuSource& source, int64_t layer, int64_t top_k) {
    int32_t* counts = counts_.data();
    source.gather(layer, selected(), top_k,
                  {.key = reinterpret_cast<BFloat16*>(key_.data()),
                   .value = reinterpret_cast<BFloat16*>(value_.data()),
                   .capacity = capacity_,
                   .num_rows = counts,
                   .overflow = counts + 1},
                  stream());
    stream_.synchronize();
    int32_t numbers[2];
    counts_.copy_to_host(numbers);
    EXPECT_EQ(numbers[1], 0);
    Rows rows;
    std::vector<BFloat16> values(capacity_ * kWidth);
    for (const auto* buffer : {&key_, &value_}) {
      buffer->copy_to_host(values.data());
      std::ranges::transform(std::span(values).first(numbers[0] * kWidth), std::back_inserter(rows),
                             to_float);
    }
    return rows;
  }

 private:
  static constexpr int64_t kWidth = 16;  // of BankTest::kShape
  static constexpr int32_t kNothing[2] = {};

  const kernels::Gpu& gpu_;
  int64_t capacity_;
  kernels::GpuBuffer key_;
  kernels::GpuBuffer value_;
  kernels::GpuBuffer selected_;
  kernels::GpuArray<int32_t> counts_;
  kernels::GpuStream stream_;
};

TEST_F(GpuSourceCuda, EveryTierGivesTheContentOfTheBank) {
  for (const auto& [keys, content] : {std::pair(NumberType::kBFloat16, ContentType::kBFloat16),
                                      std::pair(NumberType::kInt8, ContentType::kFloat32),
                                      std::pair(NumberType::kBFloat16, ContentType::kInt8),
                                      std::pair(NumberType::kInt8, ContentType::kInt4)}) {
    std::filesystem::remove_all(folder());
    write_bank(keys, content);
    ASSERT_GT(plain_->num_documents(), 200);
    for (const auto& source : load_all()) {
      SCOPED_TRACE(to_text(source->tiers()));
      std::mt19937 random(5);
      for (int round = 0; round < 30; ++round) {
        const int64_t layer = round % kShape.num_layers;
        const auto documents = some_documents(1 + random() % 100, random);
        ASSERT_EQ(fetched(*source, layer, documents), wanted(layer, documents)) << round;
        if (round % 3 != 0) source->remember(documents);
      }
    }
  }
}

TEST_F(GpuSourceCuda, QuantisedRecordsAreKeptAsTheyAreStored) {
  for (const ContentType content : {ContentType::kInt8, ContentType::kInt4}) {
    std::filesystem::remove_all(folder());
    write_bank(NumberType::kBFloat16, content);
    int64_t num_chunks = 0;
    for (const Passage& passage : bank_->passages()) num_chunks += passage.chunks;
    constexpr int64_t kRowBytes = 16 + 16;  // values and scales, each filled up
    const int64_t wanted_bytes = num_chunks * kShape.num_layers * 2 * kRowBytes;
    for (const auto& source : load_all()) EXPECT_EQ(source->tiers().content_bytes, wanted_bytes);
  }
}

TEST_F(GpuSourceCuda, ChoosesTheDocumentsThatTheBankChooses) {
  for (const NumberType keys : {NumberType::kBFloat16, NumberType::kInt8}) {
    std::filesystem::remove_all(folder());
    write_bank(keys, ContentType::kBFloat16);
    const auto source = load(kPlenty, kPlenty);
    std::mt19937 random(6);
    std::vector<float> query(5 * 4 * kShape.head_dim);
    for (const auto rule : {QueryReduce::kMax, QueryReduce::kMean, QueryReduce::kLast}) {
      for (int64_t layer = 0; layer < kShape.num_layers; ++layer) {
        for (float& value : query) value = static_cast<float>(random()) * 0x1p-31F - 1.0F;
        const RoutingQuery asked{
            .values = query.data(), .num_tokens = 5, .num_heads = 4, .rule = {.query = rule}};
        const auto expected = plain_->route(layer, asked, 16, {});
        const auto chosen = source->route(layer, asked, 16, {});
        ASSERT_EQ(chosen.size(), 16);
        for (size_t i = 0; i < 16; ++i) {
          EXPECT_EQ(chosen[i].document, expected[i].document) << i;
          EXPECT_NEAR(chosen[i].score, expected[i].score, 1e-5) << i;
        }
      }
    }
  }
}

TEST_F(GpuSourceCuda, ScansOfInt4KeysChooseTheDocumentsThatTheBankChooses) {
  if (gpu_->facts().capability / 10 != 9) GTEST_SKIP() << "no Hopper GPU";
  for (const NumberType keys : {NumberType::kBFloat16, NumberType::kInt8}) {
    std::filesystem::remove_all(folder());
    write_bank(keys, kernels::ContentType::kBFloat16);
    const auto load_packed = [&](int64_t gpu_bytes) {
      return bank_->gpu_source(
          *gpu_, {.gpu_bytes = gpu_bytes, .host_bytes = kPlenty, .scan_keys = ScanKeys::kInt4});
    };
    const auto on_gpu = load_packed(kPlenty);
    EXPECT_EQ(on_gpu->tiers().host_key_bytes, 0);
    const auto on_host = load_packed(on_gpu->tiers().key_bytes - 1);
    EXPECT_GT(on_host->tiers().host_key_bytes, 0);
    EXPECT_LT(on_host->tiers().key_bytes, on_gpu->tiers().key_bytes);
    std::mt19937 random(7);
    std::vector<float> query(9 * 4 * kShape.head_dim);
    for (int64_t round = 0; round < 20; ++round) {
      for (float& value : query) value = static_cast<float>(random()) * 0x1p-31F - 1.0F;
      const RoutingQuery asked{.values = query.data(), .num_tokens = 9, .num_heads = 4, .rule = {}};
      const int64_t layer = round % kShape.num_layers;
      const auto expected = plain_->route(layer, asked, 16, {});
      for (const auto* source : {on_gpu.get(), on_host.get()}) {
        const auto chosen = source->route(layer, asked, 16, {});
        ASSERT_EQ(chosen.size(), 16);
        for (size_t i = 0; i < 16; ++i) {
          EXPECT_EQ(chosen[i].document, expected[i].document) << i;
          EXPECT_NEAR(chosen[i].score, expected[i].score, 1e-5) << i;
        }
      }
    }
  }
}

TEST_F(GpuSourceCuda, WhatTheGpuChoseIsGatheredWithoutTheHost) {
  write_bank(NumberType::kBFloat16, ContentType::kBFloat16);
  const std::vector<float> query(kShape.key_dim(), 1.0F);
  const kernels::GpuArray<float> device_query(*gpu_, std::span<const float>(query));
  const int64_t first_token[] = {0, 1};
  for (const auto& source : load_all()) {
    Target target(*gpu_, 100);
    kernels::RouteBatchParams params{.query = device_query.data(),
                                     .first_token = first_token,
                                     .num_questions = 1,
                                     .top_k = 16,
                                     .selected = target.selected()};
    source->set_routing(1, params);
    const kernels::GpuBuffer workspace(*gpu_, gpu_->library().route_batch_workspace_bytes(params));
    gpu_->library().route_batch(params, workspace.data(), target.stream());
    const Rows rows = target.gather(*source, 1, 16);
    const auto chosen = plain_->route(1,
                                      {.values = query.data(),
                                       .num_tokens = 1,
                                       .num_heads = kShape.num_kv_heads,
                                       .rule = {.scale = 2}},
                                      16, {});
    std::vector<int64_t> documents;
    for (const auto& scored : chosen) documents.push_back(scored.document);
    EXPECT_EQ(rows, wanted(1, documents)) << to_text(source->tiers());
  }
}

TEST_F(GpuSourceCuda, SessionsThatShareACacheDoNotDisturbEachOther) {
  write_bank(NumberType::kBFloat16, ContentType::kBFloat16);
  for (const auto& source : load_all()) {
    SCOPED_TRACE(to_text(source->tiers()));
    std::vector<std::thread> sessions;
    for (uint32_t seed = 0; seed < 4; ++seed) {
      sessions.emplace_back([&, seed] {
        std::mt19937 random(seed);
        Target target(*gpu_, 100);
        for (int round = 0; round < 100; ++round) {
          const int64_t layer = round % kShape.num_layers;
          const auto documents = some_documents(16, random);
          target.choose(documents);
          ASSERT_EQ(target.gather(*source, layer, 16), wanted(layer, documents));
          source->remember(documents);
        }
      });
    }
    for (std::thread& session : sessions) session.join();
  }
}

TEST_F(GpuSourceCuda, BudgetsThatAreTooSmallAndBanksThatDoNotFitAreRefusedByName) {
  write_bank(NumberType::kBFloat16, ContentType::kBFloat16);
  const auto expect_refused = [&](const auto& call, ErrorCode code, const char* reason) {
    try {
      call();
      ADD_FAILURE() << "not refused: " << reason;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code);
      EXPECT_THAT(error.what(), testing::HasSubstr(reason));
    }
  };
  expect_refused([&] { load(1, 1); }, ErrorCode::kDevice, "bytes of GPU memory, 1 are given");
  const auto source = load(kPlenty, 1);
  const int64_t keys = source->tiers().key_bytes;
  expect_refused([&] { load(keys, 1); }, ErrorCode::kDevice, "stays on disk");

  std::vector<float> query(2 * kShape.key_dim());
  std::vector<float> scores(source->num_documents());
  RoutingQuery asked{.values = query.data(), .num_tokens = 1, .num_heads = 4, .rule = {}};
  expect_refused([&] { source->route(0, asked, 3, scores); }, ErrorCode::kInvalidArgument,
                 "chosen documents only");
  asked.rule.head = HeadReduce::kMax;
  expect_refused([&] { source->route(0, asked, 3, {}); }, ErrorCode::kInvalidArgument,
                 "mean over heads");

  std::filesystem::remove_all(folder());
  write_bank(NumberType::kFloat32, ContentType::kBFloat16);
  expect_refused([&] { load(kPlenty, 1); }, ErrorCode::kDevice, "the bank's are f32");
}

TEST_F(GpuSourceCuda, AnEmptyBankHasNobodyToChoose) {
  open_writer();
  bank_ = open();
  const auto source = load(kPlenty, kPlenty);
  EXPECT_EQ(source->num_documents(), 0);
  const std::vector<float> query(kShape.key_dim());
  const RoutingQuery asked{
      .values = query.data(), .num_tokens = 1, .num_heads = kShape.num_kv_heads, .rule = {}};
  EXPECT_TRUE(source->route(0, asked, 16, {}).empty());
}

TEST_F(GpuSourceCuda, ADamagedRecordOnDiskIsNamedAndTheOthersAreStillGiven) {
  const auto writer = open_writer();
  commit(*writer, 1500, 1);
  bank_ = open();
  plain_ = bank_->source();
  const int64_t last = plain_->num_documents() - 1;
  const std::vector<int64_t> first_ones{0, 1, 2};
  const Rows expected = wanted(0, first_ones);
  const int64_t keys = load(kPlenty, 1)->tiers().key_bytes;
  const int64_t record = 3 * kShape.num_layers * 2 * gpu_row_bytes(facts());
  const auto bytes = std::filesystem::file_size(segment(1));
  {
    std::fstream file(segment(1), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(*storage::digested_bytes_of(bytes) - 1));
    file.put('\x55');
  }
  const auto expect_damaged = [](const auto& call, const char* reason) {
    try {
      call();
      ADD_FAILURE() << "damaged bytes were given";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruption);
      EXPECT_THAT(error.what(), testing::HasSubstr(reason));
    }
  };
  expect_damaged([&] { load(kPlenty, 1); }, "is damaged");

  const auto on_disk = load(keys + 4 * (last + 1) + 64 * record, 1);
  ASSERT_EQ(on_disk->tiers().content, ContentPlace::kDisk);
  const std::vector<int64_t> with_damage{0, last};
  for (int attempt = 0; attempt < 2; ++attempt) {
    const std::string reason = "wanted for passage " + std::to_string(last + 1);
    expect_damaged([&] { fetched(*on_disk, 0, with_damage); }, reason.c_str());
    EXPECT_EQ(fetched(*on_disk, 0, first_ones), expected);
  }
}

}  // namespace
}  // namespace msa::memory
