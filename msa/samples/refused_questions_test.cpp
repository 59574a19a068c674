#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "msa/corpus/words.h"
#include "msa/samples/batch_texts.h"
#include "msa/samples/facts.h"

namespace msa::samples {
namespace {

constexpr std::string_view kBesideSimilar = "beside similar: ";
constexpr std::string_view kRefused = "The answer to the question is: I do not know.<|im_end|>";

/// Each passage with two plants and the passage of an article far away.
std::vector<std::vector<int32_t>> groups() {
  std::vector<std::vector<int32_t>> all;
  for (int32_t i = 0; i < 150; ++i) all.push_back({i, 180 + i % 40, 180 + (i + 7) % 40, i + 30});
  return all;
}

Mixture refusing_mixture(double similar_share) {
  Mixture mixture = small_mixture();
  mixture.similar_share = 0.5;
  mixture.reading_share = 0.8;
  mixture.no_answer_share = 1;
  mixture.no_answer_text_share = 1;
  mixture.no_answer_similar_share = similar_share;
  return mixture;
}

TrainQuestion question_named(std::string_view name) {
  for (int64_t i = 0; i < corpus().num_questions(); ++i) {
    if (corpus().question(i).name == name) return corpus().question(i);
  }
  throw Error(ErrorCode::kNotFound, std::string(name));
}

struct Refusal {
  std::string name;                // of its question
  bool is_beside_similar = false;  // else after any texts
  std::string text;
  std::vector<std::vector<size_t>> rounds;  // places of what was read
};

/// Those that a batch has, with what is read in each round.
std::vector<Refusal> refusals_of(const Batch& batch) {
  std::map<std::string, size_t> places;
  const auto documents = texts_of(batch.documents);
  for (size_t place = 0; place < documents.size(); ++place) places[id_of(documents[place])] = place;
  std::vector<Refusal> all;
  for (size_t s = 0; s < static_cast<size_t>(batch.num_asking); ++s) {
    const std::string& name = batch.names[s];
    const bool is_beside = name.starts_with(kBesideSimilar);
    if (!is_beside && !name.starts_with("without its document: ")) continue;
    Refusal refusal{.name = name.substr(name.find(": ") + 2),
                    .is_beside_similar = is_beside,
                    .text = text_of(batch.sequences, s),
                    .rounds = {}};
    // "[12][7]<|object_ref_end|>[7]. text" names a round.
    const std::string end = "<|object_ref_end|>";
    for (size_t close = 0; (close = refusal.text.find("]" + end, close)) != std::string::npos;
         ++close) {
      size_t begin = close;
      while (refusal.text[begin - 1] == ']' || refusal.text[begin - 1] == '[' ||
             (refusal.text[begin - 1] >= '0' && refusal.text[begin - 1] <= '9')) {
        --begin;
      }
      std::vector<size_t> round;
      for (std::string ids = refusal.text.substr(begin, close + 1 - begin); !ids.empty();
           ids = ids.substr(ids.find(']') + 1)) {
        round.push_back(places.at(id_of(ids)));
      }
      refusal.rounds.push_back(round);
    }
    all.push_back(std::move(refusal));
  }
  return all;
}

TEST(RefusedQuestions, ReadWhatIsTakenForTheDocumentThatIsNotThere) {
  std::map<size_t, int> num_texts;
  std::map<size_t, int> num_rounds;
  int seen = 0;
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    BatchMaker maker = maker_of(refusing_mixture(1), {.seed = seed});
    maker.set_similar(groups());
    for (int64_t step = 0; step < 4; ++step) {
      const Batch batch = maker.make(step);
      check(batch, fixture().layout().tokenizer().vocab_size());
      const auto documents = texts_of(batch.documents);
      for (const Refusal& refusal : refusals_of(batch)) {
        SCOPED_TRACE(refusal.text);
        EXPECT_TRUE(refusal.text.ends_with(kRefused));
        size_t count = 0;
        std::set<size_t> read;
        for (const auto& round : refusal.rounds) {
          count += round.size();
          read.insert(round.begin(), round.end());
        }
        EXPECT_EQ(read.size(), count);  // none twice
        EXPECT_LE(count, 3U);
        if (!refusal.is_beside_similar) continue;
        ++seen;
        ++num_texts[count];
        ++num_rounds[refusal.rounds.size()];
        EXPECT_TRUE(refusal.rounds.size() == 1 || refusal.rounds.size() == count);
        // What was read is of the group of one of the gold documents.
        const TrainQuestion question = question_named(refusal.name);
        std::set<int32_t> similar;
        for (const auto& group : groups()) {
          if (std::ranges::find(question.documents, group[0]) == question.documents.end()) continue;
          similar.insert(group.begin() + 1, group.end());
        }
        for (const size_t place : read) {
          const bool is_similar = std::ranges::any_of(similar, [&](int32_t document) {
            return documents[place].find(corpus().text(document)) != std::string::npos;
          });
          EXPECT_TRUE(is_similar) << documents[place];
        }
      }
    }
  }
  EXPECT_GT(seen, 100);
  for (const size_t count : {1, 2, 3}) EXPECT_GT(num_texts[count], 10) << count;
  EXPECT_EQ(num_texts[0], 0);
  EXPECT_GT(num_rounds[1], 30);
  EXPECT_GT(num_rounds[2], 10);
}

TEST(RefusedQuestions, AreNotAnsweredByAnythingThatTheMemoryHolds) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    BatchMaker maker = maker_of(refusing_mixture(1), {.seed = seed});
    maker.set_similar(groups());
    for (int64_t step = 0; step < 3; ++step) {
      const Batch batch = maker.make(step);
      const auto documents = texts_of(batch.documents);
      for (const Refusal& refusal : refusals_of(batch)) {
        SCOPED_TRACE(refusal.name);
        const TrainQuestion question = question_named(refusal.name);
        for (size_t place = 0; place < documents.size(); ++place) {
          for (const int32_t gold : question.documents) {
            EXPECT_EQ(documents[place].find(corpus().text(gold)), std::string::npos);
          }
          const std::string title(plain_title(corpus().title(question.documents[0])));
          const bool is_alike = documents[place].find(title + " is a town") != std::string::npos;
          const bool is_read = std::ranges::any_of(refusal.rounds, [&](const auto& round) {
            return std::ranges::find(round, place) != round.end();
          });
          for (const std::string_view answer : question.answers) {
            if (!is_alike && !is_read) continue;
            EXPECT_EQ(corpus::lower_case(documents[place]).find(corpus::lower_case(answer)),
                      std::string::npos);
          }
        }
      }
    }
  }
}

TEST(RefusedQuestions, ReadSimilarTextsInTheirShare) {
  const auto share_of = [](double similar_share) {
    BatchMaker maker = maker_of(refusing_mixture(similar_share));
    maker.set_similar(groups());
    int similar = 0;
    int all = 0;
    for (int64_t step = 0; step < 10; ++step) {
      for (const std::string& name : maker.make(step).names) {
        similar += name.starts_with(kBesideSimilar) ? 1 : 0;
        all += name.starts_with(kBesideSimilar) || name.starts_with("without") ? 1 : 0;
      }
    }
    EXPECT_GT(all, 200);
    return static_cast<double>(similar) / all;
  };
  EXPECT_EQ(share_of(0), 0);
  const double most = share_of(1);
  EXPECT_GT(most, 0.6);
  EXPECT_NEAR(share_of(0.5), most / 2, 0.12);
}

TEST(RefusedQuestions, ReadAnyTextsWhereThereAreNoGroups) {
  const BatchMaker maker = maker_of(refusing_mixture(1));
  std::map<size_t, int> num_texts;
  for (int64_t step = 0; step < 4; ++step) {
    for (const Refusal& refusal : refusals_of(maker.make(step))) {
      EXPECT_FALSE(refusal.is_beside_similar);
      size_t count = 0;
      for (const auto& round : refusal.rounds) count += round.size();
      ++num_texts[count];
    }
  }
  for (const size_t count : {1, 2, 3}) EXPECT_GT(num_texts[count], 10) << count;
}

}  // namespace
}  // namespace msa::samples
