#include "msa/train/config.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/test_paths.h"
#include "msa/train/config_keys.h"

namespace msa::train {
namespace {

constexpr const char* kSmall = R"([run]
output = "out"

[model]
config = "shape/config.json"
tokenizer = "/models/tokenizer"

[data]
cache = "../cache"

[[data.source]]
name = "wiki"
documents = "wiki.jsonl.zst"
questions = ["a.jsonl", "b.jsonl"]

[[phase]]
name = "language"
rate = 4e-3
stop = { steps = 10 }
)";

TrainConfig parse(const std::string& text, const std::vector<Setting>& settings = {}) {
  return parse_config(text, "run.toml", "/home/configs", settings);
}

/// All values in the order of the keys; changes the one at `place`, if there is one.
class Values {
 public:
  explicit Values(int place = -1) : left_(place) {}

  void integer(std::string_view key, int64_t& value, int64_t lowest, int64_t highest) {
    if (is_its_turn()) value = value < highest ? value + 1 : lowest;
    add(key, std::to_string(value));
  }
  template <typename Number>
  void number(std::string_view key, Number& value, double lowest, double highest) {
    if (is_its_turn()) {
      const double other = static_cast<double>(value) * 0.7 + 0.012345678901234567;
      value = static_cast<Number>(other <= highest ? other : lowest);
    }
    add(key, testing::PrintToString(value) + " " + std::to_string(std::hash<Number>()(value)));
  }
  void boolean(std::string_view key, bool& value) {
    if (is_its_turn()) value = !value;
    add(key, value ? "true" : "false");
  }
  void text(std::string_view key, std::string& value) {
    if (is_its_turn()) value += "\"\\\n\x01 \xc3\xa9'";
    add(key, value);
  }
  void path(std::string_view key, std::filesystem::path& value) {
    if (is_its_turn() && !value.empty()) value += " \"x\"";
    add(key, value.string());
  }
  void paths(std::string_view key, std::vector<std::filesystem::path>& values) {
    if (is_its_turn()) values.emplace_back("/a/b,c");
    for (const auto& value : values) add(key, value.string());
  }
  void integers(std::string_view key, std::vector<int64_t>& values, int64_t, int64_t highest) {
    if (is_its_turn()) values.push_back(highest);
    for (const int64_t value : values) add(key, std::to_string(value));
  }
  template <typename Value, size_t kCount>
  void choice(std::string_view key, Value& value, const std::array<Choice<Value>, kCount>& all) {
    if (is_its_turn()) value = value == all[0].second ? all[kCount - 1].second : all[0].second;
    add(key, std::to_string(static_cast<int>(value)));
  }
  template <typename Table>
  void table(std::string_view key, Table& table) {
    add(key, "table");
    list_keys(*this, table);
  }
  template <typename Table>
  void tables(std::string_view key, std::vector<Table>& tables) {
    for (Table& table : tables) this->table(key, table);
  }
  void needs(std::string_view) {}
  void must(bool holds, std::string_view, std::string_view) { holds_ &= holds; }

  const std::vector<std::string>& values() const { return values_; }
  bool has_changed() const { return left_ < 0; }
  bool holds() const { return holds_; }

 private:
  bool is_its_turn() { return left_-- == 0; }
  void add(std::string_view key, const std::string& value) {
    values_.push_back(std::string(key) + " = " + value);
  }

  int left_;
  bool holds_ = true;
  std::vector<std::string> values_;
};

std::vector<std::string> values_of(TrainConfig config) {
  Values values;
  list_keys(values, config);
  return values.values();
}

TEST(Config, ReadsKeysAndLeavesDefaultsWhereThereIsNone) {
  const TrainConfig config = parse(kSmall);
  EXPECT_EQ(config.run.output, "/home/configs/out");
  EXPECT_EQ(config.run.seed, 1);
  EXPECT_EQ(config.model.config, "/home/configs/shape/config.json");
  EXPECT_EQ(config.model.tokenizer, "/models/tokenizer");
  EXPECT_EQ(config.data.cache, "/home/cache");
  ASSERT_EQ(config.data.sources.size(), 1U);
  EXPECT_EQ(config.data.sources[0].questions.size(), 2U);
  EXPECT_EQ(config.data.sources[0].questions[1], "/home/configs/b.jsonl");
  ASSERT_EQ(config.phases.size(), 1U);
  EXPECT_EQ(config.phases[0].rate, 4e-3);
  EXPECT_EQ(config.phases[0].stop.steps, 10);
  EXPECT_EQ(config.phases[0].schedule.curve, RateCurve::kConstant);
  EXPECT_EQ(config.optimizer.method, OptimizerMethod::kMuon);
  ASSERT_EQ(config.phases[0].mixture.sources.size(), 1U);
  EXPECT_EQ(config.phases[0].mixture.sources[0].documents, 1);
}

TEST(Config, SettingsAreReadAsTheTypeOfTheirKey) {
  const TrainConfig config = parse(kSmall, {{"phase.0.rate", "1e-4"},
                                            {"run.device", "gpu"},
                                            {"run.seed", "7"},
                                            {"data.source.0.needs_all_gold", "false"},
                                            {"data.source.0.weight", "2.5"},
                                            {"data.held_back", "x.txt,y.txt"},
                                            {"evaluation.memory_tokens", "8192,65536"},
                                            {"phase.0.schedule.curve", "wsd"},
                                            {"phase.0.name", "12"},
                                            {"run.seed", "8"}});
  EXPECT_EQ(config.phases[0].rate, 1e-4);
  EXPECT_EQ(config.phases[0].name, "12");
  EXPECT_EQ(config.run.device, DeviceChoice::kGpu);
  EXPECT_EQ(name_of(config.run.device), "gpu");
  EXPECT_EQ(config.run.seed, 8);
  EXPECT_FALSE(config.data.sources[0].needs_all_gold);
  EXPECT_EQ(config.phases[0].mixture.sources[0].documents, 2.5);
  EXPECT_EQ(config.data.held_back[1], "/home/configs/y.txt");
  EXPECT_EQ(config.evaluation.memory_tokens, (std::vector<int64_t>{8192, 65536}));
  EXPECT_EQ(config.phases[0].schedule.curve, RateCurve::kWsd);
}

TEST(Config, ASettingStandsForAKeyThatIsNotInTheFile) {
  const auto without = [](const std::string& line) {
    std::string text = kSmall;
    text.erase(text.find(line), line.size());
    return text;
  };
  const std::string output = "output = \"out\"\n";
  const std::string stop = "stop = { steps = 10 }\n";
  EXPECT_THROW(parse(without(output)), Error);
  EXPECT_NO_THROW(parse(without(output), {{"run.output", "x"}}));
  EXPECT_THROW(parse(without(output), {{"run.seed", "2"}}), Error) << "another key";
  EXPECT_THROW(parse(without(stop)), Error);
  EXPECT_NO_THROW(parse(without(stop), {{"phase.0.stop.steps", "5"}}));
  EXPECT_NO_THROW(parse(kSmall, {{"data.source.0.needs_all_gold", "true"}}));
}

TEST(Config, ASettingThatDoesNotFitIsRefusedByItsName) {
  const std::vector<std::pair<Setting, std::string>> cases{
      {{"run.sed", "1"}, "--set run.sed: there is no such key"},
      {{"phase.1.rate", "1e-3"}, "--set phase.1.rate: there is no such key"},
      {{"run.seed", "1.5"}, "--set run.seed: must be an integer"},
      {{"run.seed", ""}, "--set run.seed: must be an integer"},
      {{"run.keep", "0"}, "--set run.keep: must be an integer in [1,"},
      {{"phase.0.rate", "fast"}, "--set phase.0.rate: must be a number"},
      {{"phase.0.rate", "nan"}, "--set phase.0.rate: must be a number"},
      {{"run.device", "tpu"},
       "--set run.device: must be one of \"auto\", \"cpu\", \"gpu\", got tpu"},
      {{"evaluation.memory_tokens", "8192,many"}, "memory_tokens: must be a list of integers in"},
      {{"evaluation.memory_tokens", "8192,9000000000000000000"}, "must be a list of integers in"},
      {{"data.source.0.needs_all_gold", "yes"}, "must be true or false, got yes"}};
  for (const auto& [setting, wanted] : cases) {
    try {
      parse(kSmall, {setting});
      ADD_FAILURE() << setting.key;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(std::string(error.what()).find(wanted), std::string::npos) << error.what();
    }
  }
  EXPECT_EQ(parse_setting("a.b=c=d").key, "a.b");
  EXPECT_EQ(parse_setting("a.b=c=d").value, "c=d");
  EXPECT_THROW(parse_setting("a.b"), Error);
  EXPECT_THROW(parse_setting("=x"), Error);
}

const std::string kSources =
    "[[data.source]]\nname = \"wiki\"\ndocuments = \"wiki.jsonl.zst\"\n"
    "questions = [\"a.jsonl\", \"b.jsonl\"]\n";

struct BadConfig {
  std::string find;
  std::string put;
  std::string place;    // line and column; empty: any
  std::string message;  // a part
};

TEST(Config, RefusesWithFileLineColumnAndWhatWasWanted) {
  const std::string no_phase = kSmall;
  const std::vector<BadConfig> cases{
      {"output = \"out\"", "output = ", "2:", "not TOML"},
      {"output = \"out\"", "output = \"out\"\noutput = \"b\"", "3:", "not TOML"},
      {"[run]", "[run", "1:", "not TOML"},
      {"[run]", "[=run]", "1:", "not TOML"},
      {"[run]", "[.run]", "1:", "not TOML"},
      {"[run]", "[", "1:", "not TOML"},
      {kSources, "source = []\n", "11:", "one table or more"},
      {kSources, "source = [1]\n", "11:", "one table or more"},
      {"output = \"out\"", "output = \"a\\u0000b\"", "2:10", "must be a path that is not empty"},
      {"output = \"out\"", "output = \"out\"\ncheckpoint_seconds = \"1\"", "3:22", "a number in"},
      {"documents = \"wiki.jsonl.zst\"", "documents = [1]", "13:13", "path"},
      {"stop = { steps = 10 }", "stop = { steps = 10 }\nrate_x = \"\"\"\\", "20:", "not TOML"},
      {"output = \"out\"", "output = \"\xff\"", "2:", "not TOML"},
      {"output = \"out\"", "", "1:1", "the key \"run.output\" is missing"},
      {"output = \"out\"", "output = 3", "2:10", "\"run.output\" must be a path"},
      {"output = \"out\"", "output = \"\"", "2:10", "must be a path that is not empty, got"},
      {"output = \"out\"", "output = \"out\"\nsed = 1", "3:1", "there is no key \"run.sed\""},
      {"output = \"out\"", "output = \"out\"\nseed = 1.5", "3:8", "must be an integer in [0,"},
      {"output = \"out\"", "output = \"out\"\nseed = -1", "3:8", "got -1"},
      {"output = \"out\"", "output = \"out\"\nseed = \"1\"", "3:8", "must be an integer"},
      {"output = \"out\"", "output = \"out\"\nseed = true", "3:8", "got true"},
      {"output = \"out\"", "output = \"out\"\nkeep = 0", "3:8", "must be an integer in [1,"},
      {"output = \"out\"", "output = \"out\"\ndevice = \"tpu\"", "3:10",
       "one of \"auto\", \"cpu\", \"gpu\", got"},
      {"output = \"out\"", "output = \"out\"\nthreads = 9999", "3:11", "must be an integer in [0,"},
      {"output = \"out\"", "output = \"out\"\ncheckpoint_seconds = 0", "3:22", "a number in [1,"},
      {"[run]", "[runs]", "1:2", "there is no key \"runs\""},
      {"config = \"shape/config.json\"", "", "4:1", "exactly one of \"from\" and \"config\""},
      {"config = \"shape/config.json\"", "config = \"c\"\nfrom = \"m\"", "5:10", "exactly one of"},
      {"tokenizer = \"/models/tokenizer\"", "", "4:1", "a folder where there is no \"from\""},
      {"tokenizer = \"/models/tokenizer\"", "precision = \"fp8\"", "6:13",
       "one of \"float32\", \"bfloat16\""},
      {"cache = \"../cache\"", "", "8:1", "the key \"data.cache\" is missing"},
      {"cache = \"../cache\"", "cache = \"c\"\nheld_back = \"x\"", "10:13", "a list of paths"},
      {"cache = \"../cache\"", "cache = \"c\"\nheld_back = [1]", "10:13", "a list of paths"},
      {"cache = \"../cache\"", "cache = \"c\"\nheld_back = [\"\"]", "10:13", "a list of paths"},
      {"cache = \"../cache\"", "cache = \"c\"\nmax_document_tokens = 3", "10:23", "in [16,"},
      {"[[data.source]]", "[data.source]", "11:1", "one table or more"},
      {"name = \"wiki\"", "", "11:1", "the key \"data.source.0.name\" is missing"},
      {"name = \"wiki\"", "name = \"\"", "12:8", "a string that is not empty"},
      {"name = \"wiki\"", "name = \"wiki\"\nweight = -1", "13:10", "a number in [0,"},
      {"name = \"wiki\"", "name = \"wiki\"\nweight = 0", "11:1", "a weight above 0"},
      {"name = \"wiki\"", "name = \"wiki\"\nweight = inf", "13:10", "a number in [0,"},
      {"name = \"wiki\"", "name = \"wiki\"\nneeds_all_gold = 1", "13:18", "true or false, got 1"},
      {"[[phase]]", "[[data.source]]\nname = \"wiki\"\ndocuments = \"d\"\n[[phase]]", "11:1",
       "sources of different names"},
      {"[[phase]]", "[[phases]]", "16:3", "there is no key \"phases\""},
      {"rate = 4e-3", "", "16:1", "the key \"phase.0.rate\" is missing"},
      {"rate = 4e-3", "\"\xC3\xA9\" = r\xC3\xA9te", "18:8", "beyond ASCII must stand in strings"},
      {"rate = 4e-3", "rate = 0", "18:8", "\"phase.0.rate\" must be a number in"},
      {"rate = 4e-3", "rate = 2.0", "18:8", "got 2"},
      {"rate = 4e-3", "rate = nan", "18:8", "a number in"},
      {"stop = { steps = 10 }", "", "16:1", "the key \"phase.0.stop\" is missing"},
      {"{ steps = 10 }", "{ recall = 0.5 }", "19:", "steps, tokens or seconds above 0"},
      {"{ steps = 10 }", "{ steps = 10, recall = 0.5 }", "", "every_steps above 0"},
      {"{ steps = 10 }", "{ step = 10 }", "19:10", "there is no key \"phase.0.stop.step\""},
      {"{ steps = 10 }", "10", "19:8", "\"phase.0.stop\" must be a table, got 10"},
      {"[[phase]]", "[evaluation]\nevery_steps = 5\n[[phase]]", "16:1", "one size or more"},
      {"[[phase]]", "[evaluation]\nmemory_tokens = [2, 1]\n[[phase]]", "17:17", "rising"},
      {"[[phase]]", "[evaluation]\nmemory_tokens = [0]\n[[phase]]", "17:17", "a list of integers"},
      {"[[phase]]", "[mining]\nevery_steps = 5\n[[phase]]", "16:1", "mixture.similar_share"},
      {"[[phase]]", "[mining]\nmemory_tokens = 0\n[[phase]]", "17:17", "an integer in [1,"},
      {"[[phase]]", "[mining]\ndocuments = 0\n[[phase]]", "17:13", "an integer in [1, 1000]"},
      {"[[phase]]", "[optimizer]\nmethod = \"sgd\"\n[[phase]]", "17:10", "\"muon\", \"adamw\""},
      {"[[phase]]", "[optimizer]\nmomentum = 1\n[[phase]]", "17:12", "a number in [0, 0.9999]"},
      {"[[phase]]", "[guard]\nwindow = 2\n[[phase]]", "17:10", "an integer in [8,"},
      {"rate = 4e-3", "rate = 1e-3\nmixture.memory_tokens = 0\nlosses.auxiliary = 1", "19:1",
       "memory_tokens above 0"},
      {"rate = 4e-3", "rate = 1e-3\nlosses.language = 0", "19:", "one loss with a weight above 0"},
      {"rate = 4e-3", "rate = 1e-3\ntrain = \"routers\"", "19:9", "\"all\" where"},
      {"rate = 4e-3", "rate = 1e-3\nauxiliary.temperature = 0.0001", "19:25", "[0.001, 0.5]"},
      {"rate = 4e-3", "rate = 1e-3\nauxiliary.method = \"NCE\"", "19:20", "\"INFONCE_FOCAL\""},
      {"rate = 4e-3", "rate = 1e-3\nmixture.ids_max_digits = 19", "19:26", "in [1, 18]"},
      {"rate = 4e-3", "rate = 1e-3\nmixture.hop_share = 1.1", "19:21", "a number in [0, 1]"},
      {"rate = 4e-3", "rate = 1e-3\nmixture.invented_share = 1.5", "19:26", "a number in [0, 1]"},
      {"rate = 4e-3", "rate = 1e-3\nmixture.invented_question_share = -1", "19:35",
       "a number in [0, 1]"},
      {"rate = 4e-3", "rate = 1e-3\nmixture.no_answer_similar_share = 2", "19:35",
       "a number in [0, 1]"},
      {"rate = 4e-3", "rate = 1e-3\nmixture.alone_gap_share = 0.6", "19:27", "alone_answers_share"},
      {"rate = 4e-3", "rate = 1e-3\nmixture.weights.text = -1", "19:24", "a number in [0,"},
      {"rate = 4e-3", "rate = 1e-3\nschedule.final_factor = 2", "19:25", "a number in [0, 1]"}};
  EXPECT_GE(cases.size(), 30U);
  for (const BadConfig& bad : cases) {
    std::string text = kSmall;
    const size_t at = text.find(bad.find);
    ASSERT_NE(at, std::string::npos) << bad.find;
    text.replace(at, bad.find.size(), bad.put);
    try {
      parse(text);
      ADD_FAILURE() << bad.put << " in place of " << bad.find;
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_EQ(error.code(), ErrorCode::kInvalidFormat) << message;
      EXPECT_EQ(message.rfind("run.toml:" + bad.place, 0), 0U) << message << "\nfor " << bad.put;
      EXPECT_NE(message.find(bad.message), std::string::npos) << message << "\nfor " << bad.put;
    }
  }
}

TEST(Config, AnyBytesAreAConfigOrRefused) {
  const std::string text = kSmall;
  int64_t refused = 0;
  const auto take = [&](const std::string& bytes) {
    try {
      parse(bytes);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidFormat);
      EXPECT_EQ(std::string(error.what()).rfind("run.toml:", 0), 0U) << error.what();
      ++refused;
    }
  };
  for (size_t length = 0; length < text.size(); ++length) take(text.substr(0, length));
  for (size_t i = 0; i < text.size(); ++i) {
    for (const char byte : {'\0', '\n', '"', '[', ']', '=', '.', '9', '\xc3'}) {
      std::string changed = text;
      changed[i] = byte;
      take(changed);
    }
  }
  take(std::string(100'000, '['));
  take("a = " + std::string(100'000, '['));
  EXPECT_GT(refused, 1000);
}

TEST(Config, EveryKeyThatIsPrintedIsReadBackAsItWas) {
  const std::string second_phase =
      "[[phase]]\nname = \"two\"\nrate = 1e-4\nstop.tokens = 5\nlosses.auxiliary = 0.3\n"
      "mixture.similar_share = 0.5\n[evaluation]\nmemory_tokens = [1]\n";
  const TrainConfig start = parse(kSmall + second_phase);
  int changed = 0;
  for (int place = 0;; ++place) {
    TrainConfig config = start;
    Values change(place);
    list_keys(change, config);
    if (!change.has_changed()) break;
    Values checks;
    list_keys(checks, config);
    if (!checks.holds()) continue;  // this key alone may not have another value
    changed += checks.values() != values_of(start) ? 1 : 0;
    const std::string text = print_config(config);
    const TrainConfig again = parse_config(text, "printed", "/elsewhere");
    ASSERT_EQ(values_of(again), checks.values()) << text;
    EXPECT_EQ(print_config(again), text);
  }
  EXPECT_GE(changed, 100);
}

TEST(Config, AFilesPathsStartAtItsFolder) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "msa_train_config";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "a.toml") << kSmall;
  const TrainConfig config = load_config(real_file_system(), folder / "a.toml");
  EXPECT_EQ(config.run.output, (folder / "out").lexically_normal());
  EXPECT_THROW(load_config(real_file_system(), folder / "b.toml"), Error);
  std::filesystem::remove_all(folder);
}

TEST(Config, EveryPresetReads) {
  int num_read = 0;
  for (const auto& entry : std::filesystem::directory_iterator(source_folder() / "configs")) {
    if (entry.path().extension() != ".toml") continue;
    SCOPED_TRACE(entry.path().string());
    EXPECT_FALSE(load_config(real_file_system(), entry.path()).phases.empty());
    ++num_read;
  }
  EXPECT_EQ(num_read, 8);
}

}  // namespace
}  // namespace msa::train
