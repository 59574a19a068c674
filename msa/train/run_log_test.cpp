#include "msa/train/run_log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/train/run_report.h"

namespace msa::train {
namespace {

class RunLogTest : public testing::Test {
 protected:
  RunLogTest() { std::filesystem::remove(path_); }
  ~RunLogTest() override { std::filesystem::remove(path_); }

  static StepReport step(int64_t number, const std::string& phase = "ids") {
    return {.step = number,
            .phase = phase,
            .seconds = 0.5 * static_cast<double>(number),
            .tokens = 1000 * number,
            .rate = 2e-3,
            .gradient_norm = 0.812,
            .tokens_per_second = 1'920'000,
            .flops_per_second = 3.1e14,
            .flop_utilisation = 0.312,
            .num_skipped = 0,
            .losses = {{"total", 1.25}, {"language", 2.5 / static_cast<double>(number)}},
            .routing = {{"recall_1", 0.9125}}};
  }

  std::vector<int64_t> steps() const {
    std::vector<int64_t> steps;
    for (const Json& line : read_log(real_file_system(), path_)) {
      steps.push_back(line.at("step").get<int64_t>());
    }
    return steps;
  }

  const std::filesystem::path path_ = std::filesystem::path(testing::TempDir()) /
                                      ("msa_run_log_" + std::to_string(getpid()) + ".jsonl");
};

TEST_F(RunLogTest, ProgressIsOneLine) {
  StepReport report = step(120);
  EXPECT_EQ(progress_line(report),
            "step 120 ids | total 1.2500 language 0.0208 | recall_1 0.912 | rate 2.0e-03 | norm "
            "0.81 | 1.92M tokens/s | 31% of peak");
  report.routing.clear();
  report.flop_utilisation = 0;
  report.flops_per_second = 87.6e9;
  report.tokens_per_second = 1234;
  report.num_skipped = 2;
  EXPECT_EQ(progress_line(report),
            "step 120 ids | total 1.2500 language 0.0208 | rate 2.0e-03 | norm 0.81 | 1.2k "
            "tokens/s | 87.6 GFLOP/s | 2 skipped");
  EXPECT_EQ(progress_line(EvaluationReport{.step = 7,
                                           .phase = "ids",
                                           .memory_tokens = 65536,
                                           .figures = {{"recall_1", 0.5}, {"recall_16", 1}}}),
            "step 7 ids | 65536 tokens in memory | recall_1 0.500 recall_16 1.000");
  EXPECT_EQ(progress_line(MiningReport{.step = 7,
                                       .phase = "ids",
                                       .memory_tokens = 65536,
                                       .num_questions = 300,
                                       .num_groups = 290,
                                       .seconds = 2.25,
                                       .figures = {{"recall_1", 0.5}}}),
            "step 7 ids | mined 65536 tokens with 300 questions in 2.2 s | recall_1 0.500 | 290 "
            "groups");
}

TEST_F(RunLogTest, LinesAreJsonAndNumbersThatAreNotFiniteAreNull) {
  StepReport report = step(2);
  report.losses[0].second = std::nan("");
  const auto log = RunLog::open(real_file_system(), path_, 0);
  log->add(to_json(report));
  log->sync();
  const std::vector<Json> lines = read_log(real_file_system(), path_);
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_TRUE(lines[0].at("losses").at("total").is_null());
  EXPECT_EQ(lines[0].at("losses").at("language"), 1.25);
  EXPECT_EQ(lines[0].at("tokens"), 2000);
  EXPECT_EQ(lines[0].at("flop_utilisation"), 0.312);
  EXPECT_THROW(log->add({{"phase", "x"}}), Error);
}

TEST_F(RunLogTest, ARunThatGoesOnDropsWhatCameLaterAndWhatWasCutOff) {
  {
    const auto log = RunLog::open(real_file_system(), path_, 0);
    for (int64_t number = 1; number <= 6; ++number) log->add(to_json(step(number)));
  }
  std::ofstream(path_, std::ios::app) << R"({"kind":"step","st)";
  {
    const auto log = RunLog::open(real_file_system(), path_, 4);
    log->add(to_json(step(5)));
  }
  EXPECT_EQ(steps(), (std::vector<int64_t>{1, 2, 3, 4, 5}));
  RunLog::open(real_file_system(), path_, 0);
  EXPECT_TRUE(steps().empty());
}

TEST_F(RunLogTest, WhatIsDoneAgainBehindTheSameStepIsDropped) {
  StepReport skipped = step(2);
  skipped.skipped = "step 1 is skipped: why";
  {
    const auto log = RunLog::open(real_file_system(), path_, 0);
    log->add(to_json(step(1)));
    log->add({{"kind", "evaluation"}, {"step", 1}});
    log->add(to_json(skipped));
    log->add({{"kind", "evaluation"}, {"step", 2}});
    log->add({{"kind", "mining"}, {"step", 2}});
  }
  RunLog::open(real_file_system(), path_, 2, {"evaluation"});
  const std::vector<Json> lines = read_log(real_file_system(), path_);
  ASSERT_EQ(lines.size(), 4U);
  EXPECT_FALSE(lines[0].contains("skipped"));
  EXPECT_EQ(lines[1].at("kind"), "evaluation") << "of an earlier step";
  EXPECT_EQ(lines[2].at("skipped"), skipped.skipped);
  EXPECT_EQ(lines[3].at("kind"), "mining");
}

TEST_F(RunLogTest, TheReportDrawsEveryCurveOnItsOwn) {
  std::vector<Json> lines;
  for (int64_t number = 1; number <= 5000; ++number) {
    lines.push_back(Json::parse(to_json(step(number, number < 100 ? "a<b" : "c&d")).dump()));
    if (number % 1000 != 0) continue;
    for (const int64_t tokens : {65536, 655360}) {
      const EvaluationReport report{
          .step = number, .phase = "c&d", .memory_tokens = tokens, .figures = {{"recall_1", 0.5}}};
      lines.push_back(Json::parse(to_json(report).dump()));
    }
  }
  const MiningReport mined{.step = 4000,
                           .phase = "c&d",
                           .memory_tokens = 65536,
                           .num_questions = 300,
                           .num_groups = 290,
                           .seconds = 2,
                           .figures = {{"recall_1", 0.25}}};
  lines.push_back(Json::parse(to_json(mined).dump()));
  const std::string page = run_report(lines, "run <1>");
  for (const char* part :
       {"<title>run &lt;1&gt;</title>", ">Losses<", ">total: 1.25<", ">language: 0.0005<",
        ">recall_1 at 65.5K tokens: 0.5<", ">Training questions, mined<",
        ">recall_1 at 65.5K tokens: 0.25<", ">Rate of learning<", ">a&lt;b<", ">c&amp;d<",
        ">Share of peak FLOP/s<"}) {
    EXPECT_NE(page.find(part), std::string::npos) << part;
  }
  for (const char* part : {"http://", "https://", "<script", "src=", "href=", "nan", "inf"}) {
    const size_t at = page.find(part);
    const bool is_namespace =
        at != std::string::npos && page.compare(at, 19, "http://www.w3.org/2") == 0;
    EXPECT_TRUE(at == std::string::npos || is_namespace) << part;
  }
  EXPECT_LT(page.size(), 200'000U) << "curves are thinned out";
}

TEST_F(RunLogTest, TheReportTakesAnyLines) {
  EXPECT_NE(run_report({}, "x").find("Nothing has been logged"), std::string::npos);
  const std::vector<Json> lines{Json::parse("3"),
                                Json::parse("{}"),
                                Json::parse(R"({"step": "1"})"),
                                Json::parse(R"({"step": 1, "losses": [1], "phase": 5})"),
                                Json::parse(R"({"step": 1, "losses": {"a": null, "b": "c"}})"),
                                Json::parse(R"({"step": 2, "losses": {"a": 1}})")};
  const std::string page = run_report(lines, "x");
  EXPECT_NE(page.find(">a: 1<"), std::string::npos) << "a single point";
  EXPECT_EQ(page.find("nan"), std::string::npos);
}

TEST_F(RunLogTest, MeansOfAThinnedCurveKeepItsLevel) {
  std::vector<Json> lines;
  for (int64_t number = 1; number <= 3000; ++number) {
    lines.push_back({{"step", number}, {"losses", {{"total", number % 2 == 0 ? 1.0 : 3.0}}}});
  }
  // Runs of five steps: means between 1.8 and 2.2, so that the axis is narrow.
  const std::string page = run_report(lines, "x");
  EXPECT_NE(page.find(">2.2<"), std::string::npos);
  EXPECT_EQ(page.find(">3<"), std::string::npos);
}

}  // namespace
}  // namespace msa::train
