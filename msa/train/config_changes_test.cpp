#include "msa/train/config_changes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "msa/train/config.h"

namespace msa::train {
namespace {

using testing::ElementsAre;

TrainConfig config_of_two_phases() {
  TrainConfig config;
  config.run.output = "/runs/a = b";
  config.data.cache = "/cache";
  config.data.sources = {{.name = "one", .documents = "/one.jsonl", .questions = {}},
                         {.name = "two", .documents = "/two.jsonl", .questions = {}}};
  config.phases.resize(2);
  config.phases[0].name = "first";
  config.phases[1].name = "second";
  return config;
}

TEST(ConfigChanges, NoneBetweenEqualConfigs) {
  const std::string text = print_config(config_of_two_phases());
  EXPECT_THAT(config_changes(text, text), ElementsAre());
}

TEST(ConfigChanges, NamesEveryKeyThatDiffersWithBothValues) {
  const TrainConfig before = config_of_two_phases();
  TrainConfig now = before;
  now.run.seed = 7;
  now.run.output = "/runs/c";
  now.data.sources[1].weight = 0.5;
  now.phases[0].rate = 0.25;
  now.phases[1].mixture.questions.title = 0.125;
  EXPECT_THAT(config_changes(print_config(before), print_config(now)),
              ElementsAre("run.seed = 1 before, 7 now",
                          "run.output = \"/runs/a = b\" before, \"/runs/c\" now",
                          "data.source.1.weight = 1.0 before, 0.5 now",
                          "phase.0.rate = 0.0 before, 0.25 now",
                          testing::StartsWith("phase.1.mixture.questions.title = ")));
}

TEST(ConfigChanges, NamesKeysThatOneOfBothLacks) {
  const TrainConfig before = config_of_two_phases();
  TrainConfig now = before;
  now.phases.resize(1);
  const auto fewer = config_changes(print_config(before), print_config(now));
  EXPECT_THAT(fewer, testing::Contains("phase.1.name = \"second\" before, not there now"));
  EXPECT_THAT(fewer, testing::Each(testing::StartsWith("phase.1.")));
  const auto more = config_changes(print_config(now), print_config(before));
  EXPECT_EQ(more.size(), fewer.size());
  EXPECT_THAT(more, testing::Contains("phase.1.name = not there before, \"second\" now"));
}

}  // namespace
}  // namespace msa::train
