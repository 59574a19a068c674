#include "msa/kernels/cross_entropy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

TEST(CrossEntropy, LossesAndGradientsEqualADoubleLoop) {
  for (const int64_t vocab_size : {1, 16, 37, 1000}) {
    for (const float scale : {1.0F, 60.0F}) {
      const int64_t tokens = 3;
      const auto logits = random_floats(tokens * vocab_size, 1, scale);
      const std::vector<int64_t> target{0, vocab_size / 2, vocab_size - 1};
      const std::vector<float> weight{0.5F, 0, 2};
      std::vector<double> loss;
      std::vector<double> gradient;
      for (int64_t t = 0; t < tokens; ++t) {
        const float* row = logits.data() + t * vocab_size;
        double highest = row[0];
        for (int64_t v = 0; v < vocab_size; ++v) highest = std::max<double>(highest, row[v]);
        double total = 0;
        for (int64_t v = 0; v < vocab_size; ++v) total += std::exp(row[v] - highest);
        loss.push_back(std::log(total) + highest - row[target[t]]);
        for (int64_t v = 0; v < vocab_size; ++v) {
          gradient.push_back(weight[t] *
                             (std::exp(row[v] - highest) / total - (v == target[t] ? 1 : 0)));
        }
      }
      on_every_level([&](const char* level) {
        SCOPED_TRACE(level);
        for (const bool has_weights : {true, false}) {
          auto values = logits;
          std::vector<float> got(tokens, NAN);
          const CrossEntropyRows rows{.logits = values.data(),
                                      .target = target.data(),
                                      .weight = has_weights ? weight.data() : nullptr,
                                      .loss = got.data(),
                                      .vocab_size = vocab_size};
          cross_entropy(rows, 0, 2);
          cross_entropy(rows, 2, tokens);
          for (int64_t t = 0; t < tokens; ++t) {
            ASSERT_NEAR(got[t], loss[t], 2e-6 * (1 + loss[t]) + 1e-5 * (scale > 1)) << t;
          }
          for (size_t i = 0; has_weights && i < gradient.size(); ++i) {
            ASSERT_NEAR(values[i], gradient[i], 2e-6) << i;
          }
        }
      });
    }
  }
}

}  // namespace
}  // namespace msa::kernels
