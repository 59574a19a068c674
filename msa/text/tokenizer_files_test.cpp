#include "msa/text/tokenizer_files.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "msa/base/test_paths.h"
#include "msa/text/tokenizer_fixture.h"

namespace msa::text {
namespace {

TEST(TokenizerFiles, DamagedFilesAreRefusedAndNamed) {
  const TokenizerFolder folder;
  for (
      const char* json :
      {"", "{}", "[1]", R"({"model":{"type":"WordPiece"}})", R"({"model":{"type":"BPE"}})",
       R"({"model":{"type":"BPE","vocab":{"a":0},"merges":[]}})",
       R"({"model":{"type":"BPE","dropout":0.1,"vocab":{"a":0},"merges":[]}})",
       R"({"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false}})",
       R"({"model":{"type":"BPE","vocab":{"a":-1},"merges":["a a"]},"pre_tokenizer":{"type":"ByteLevel"}})",
       R"({"model":{"type":"BPE","vocab":{"a":0,"b":0},"merges":[]},"pre_tokenizer":{"type":"ByteLevel"}})",
       R"({"model":{"type":"BPE","vocab":{"a":5},"merges":[]},"pre_tokenizer":{"type":"ByteLevel"}})",
       R"({"model":{"type":"BPE","vocab":{"a":0},"merges":["a x"]},"pre_tokenizer":{"type":"ByteLevel"}})",
       R"({"normalizer":{"type":"NFKC"},"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"pre_tokenizer":{"type":"ByteLevel"}})"}) {
    folder.write("tokenizer.json", json);
    folder.expect_refused("", json);
  }
}

TEST(TokenizerFiles, EveryValueOfAWrongTypeIsRefusedAndTheFileNamed) {
  const TokenizerFolder folder;
  const std::string valid =
      read_file(real_file_system(), source_folder() / "models/msa-tiny/tokenizer.json", 1 << 26);
  folder.write("tokenizer.json", valid);
  EXPECT_NO_THROW(folder.load());
  const auto damage = [&](const char* pointer, const Json& value) {
    Json json = parse_json(valid, "tokenizer.json");
    json.at(Json::json_pointer(pointer)) = value;
    folder.write("tokenizer.json", json.dump());
    folder.expect_refused("tokenizer.json", std::string(pointer) + " = " + value.dump());
  };
  const Json null, number = 5, text = "x", list = Json::array({1}), object = {{"x", 1}};
  const std::string split = "/pre_tokenizer/pretokenizers/0";
  const std::string byte_level = "/pre_tokenizer/pretokenizers/1";
  for (const Json& value : {null, number, text, list, object}) {
    for (const std::string& pointer :
         {split, split + "/type", split + "/pattern", split + "/pattern/Regex", split + "/behavior",
          split + "/invert", byte_level, byte_level + "/type", byte_level + "/use_regex",
          std::string("/pre_tokenizer"), std::string("/pre_tokenizer/pretokenizers"),
          std::string("/model"), std::string("/model/vocab"), std::string("/model/merges/0"),
          std::string("/added_tokens/0"), std::string("/added_tokens/0/content"),
          std::string("/added_tokens/0/id")}) {
      damage(pointer.c_str(), value);
    }
  }
  for (const Json& value : {number, text, list, object}) {
    damage((byte_level + "/add_prefix_space").c_str(), value);
    damage("/normalizer", value);
    damage("/added_tokens", value);
    damage("/model/merges", value);
  }
}

TEST(TokenizerFiles, DamagedFilesBesideAVocabularyAreRefusedAndNamed) {
  const auto write_valid = [](const TokenizerFolder& folder) {
    Json vocab = byte_vocabulary();
    vocab["ab"] = 256U;
    folder.write("vocab.json", vocab.dump());
    folder.write("merges.txt", "#version: 0.2\na b\n");
    folder.write("added_tokens.json", R"({"<|x|>":257})");
    folder.write("tokenizer_config.json",
                 R"({"tokenizer_class":"Qwen2Tokenizer",
                     "added_tokens_decoder":{"257":{"content":"<|x|>"}}})");
  };
  const TokenizerFolder folder;
  write_valid(folder);
  EXPECT_EQ(folder.load()->special_id("<|x|>"), 257);
  for (const auto& [file, text] : std::vector<std::pair<std::string, std::string>>{
           {"added_tokens.json", "[1]"},
           {"added_tokens.json", "null"},
           {"added_tokens.json", "7"},
           {"vocab.json", R"(["a"])"},
           {"vocab.json", R"({"a":"0"})"},
           {"vocab.json", R"({"a":null})"},
           {"tokenizer_config.json", "[]"},
           {"tokenizer_config.json", R"({"tokenizer_class":7})"},
           {"tokenizer_config.json", R"({"added_tokens_decoder":[{"content":"<|x|>"}]})"},
           {"tokenizer_config.json", R"({"added_tokens_decoder":"x"})"},
           {"tokenizer_config.json", R"({"added_tokens_decoder":{"3":"<|x|>"}})"},
           {"tokenizer_config.json", R"({"added_tokens_decoder":{"3":{"content":null}}})"},
           {"tokenizer_config.json", R"({"added_tokens_decoder":{"-3":{"content":"<|x|>"}}})"},
           {"merges.txt", "a b c\n"},
           {"merges.txt", "ab\n"}}) {
    write_valid(folder);
    folder.write(file, text);
    folder.expect_refused(file, file + ": " + text);
  }
  // What is wrong only beside the vocabulary is told under the vocabulary's name.
  for (const char* added : {R"({"<|x|>":"257"})", R"({"<|x|>":null})", R"({"a":1})", R"({"a":[0]})",
                            R"({"<|x|>":4000000})", R"({"":257})"}) {
    write_valid(folder);
    folder.write("tokenizer_config.json", "{}");
    folder.write("added_tokens.json", added);
    folder.expect_refused("vocab.json", added);
  }
}

TEST(TokenizerFiles, AnIdBeyondTheNumberOfTokensIsRefusedBeforeMemoryIsTaken) {
  const TokenizerFolder folder;
  const auto file = [](const std::string& vocab, const std::string& added) {
    return R"({"model":{"type":"BPE","vocab":)" + vocab + R"(,"merges":[]},"added_tokens":)" +
           added + R"(,"pre_tokenizer":{"type":"ByteLevel"}})";
  };
  folder.write("tokenizer.json",
               file(byte_vocabulary().dump(), R"([{"content":"<|x|>","id":256}])"));
  EXPECT_EQ(folder.load()->vocab_size(), 257);
  const std::string special = R"([{"content":"<|x|>","id":1}])";
  rusage before{};
  rusage after{};
  getrusage(RUSAGE_SELF, &before);
  for (const std::string& json :
       {file(R"({"a":16777215})", "[]"), file(R"({"a":2})", special), file(R"({"a":1})", "[]"),
        file(R"({"a":0})", R"([{"content":"<|x|>","id":16777215}])"),
        file(R"({"a":18446744073709551615})", "[]"), file(R"({"a":-1})", "[]")}) {
    folder.write("tokenizer.json", json);
    folder.expect_refused("tokenizer.json", json);
  }
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 64 * 1024) << "KiB";
}

TEST(TokenizerFiles, NoMergeAndNoByteMakesASpecialToken) {
  const TokenizerFolder folder;
  const auto load = [&](const std::string& merges, const std::string& added) {
    Json vocab = byte_vocabulary();
    vocab["ab"] = 256U;
    folder.write("tokenizer.json", R"({"model":{"type":"BPE","vocab":)" + vocab.dump() +
                                       R"(,"merges":)" + merges + R"(},"added_tokens":)" + added +
                                       R"(,"pre_tokenizer":{"type":"ByteLevel"}})");
    return folder.load();
  };
  const std::string a = std::to_string(byte_vocabulary().at("a").get<int>());
  EXPECT_EQ(load(R"(["a b"])", "[]")->encode("ab"), std::vector<int32_t>{256});
  EXPECT_EQ(load("[]", R"([{"content":"ab","id":256}])")->encode("ab").size(), 2U);
  EXPECT_THROW(load(R"(["a b"])", R"([{"content":"ab","id":256}])"), Error);
  EXPECT_THROW(load("[]", R"([{"content":"a","id":)" + a + "}]"), Error);
}

TEST(TokenizerFiles, AFolderWithoutFilesHoldsNoTokenizer) {
  const TokenizerFolder folder;
  EXPECT_THROW(folder.load(), Error);
}

/// tokenizer.json of the bytes and `more` tokens from 256 on.
std::string tokenizer_json(const std::vector<std::string>& more, const std::string& merges,
                           const std::string& added, const std::string& model = "") {
  Json vocab = byte_vocabulary();
  for (size_t i = 0; i < more.size(); ++i) vocab[more[i]] = uint64_t{256} + i;
  return R"({"model":{"type":"BPE",)" + model + R"("vocab":)" + vocab.dump() + R"(,"merges":)" +
         merges + R"(},"added_tokens":)" + added + R"(,"pre_tokenizer":{"type":"ByteLevel"}})";
}

TEST(TokenizerFiles, AMergeIsATextOrAPairOfTextsAndTheLastOfEqualsCounts) {
  const TokenizerFolder folder;
  const std::vector<std::string> tokens{"ab", "bc"};
  const auto c = byte_vocabulary().at("c").get<int32_t>();
  const auto a = byte_vocabulary().at("a").get<int32_t>();
  for (const char* merges : {R"(["a b", "b c"])", R"([["a", "b"], ["b", "c"]])"}) {
    folder.write("tokenizer.json", tokenizer_json(tokens, merges, "[]"));
    EXPECT_EQ(folder.load()->encode("abc"), (std::vector<int32_t>{256, c})) << merges;
  }
  folder.write("tokenizer.json", tokenizer_json(tokens, R"(["a b", "b c", "a b"])", "[]"));
  EXPECT_EQ(folder.load()->encode("abc"), (std::vector<int32_t>{a, 257}));
  for (const char* merges : {R"([["a", 1]])", R"([[1, "b"]])", R"([["a"]])", "[null]", "null"}) {
    folder.write("tokenizer.json", tokenizer_json(tokens, merges, "[]"));
    folder.expect_refused("tokenizer.json", merges);
  }
}

TEST(TokenizerFiles, TokensAreSpelledAsBytesAndEveryIdHasOne) {
  const TokenizerFolder folder;
  const auto expect_refused = [&](const std::vector<std::string>& tokens, const std::string& added,
                                  const std::string& why) {
    folder.write("tokenizer.json", tokenizer_json(tokens, "[]", added));
    try {
      folder.load();
      ADD_FAILURE() << why;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidFormat);
      EXPECT_TRUE(std::string(error.what()).ends_with("tokenizer.json: " + why)) << error.what();
    }
  };
  expect_refused({"\u65E5"}, "[]", "token 256 \"\u65E5\" is not byte-level");
  expect_refused({"\u00AD"}, "[]", "token 256 \"\u00AD\" is not byte-level");
  expect_refused({"a\u0020"}, "[]", "token 256 \"a \" is not byte-level");
  expect_refused({}, R"([{"content":"<x>","id":256},{"content":"<y>","id":256}])",
                 "the id 256 is given to two tokens");
  expect_refused({"<x>"}, R"([{"content":"<x>","id":257}])", "\"<x>\" has two ids: 256 and 257");
  expect_refused({}, R"([{"content":"<x>"}])", "token \"<x>\" must have an id below 257, got null");
  // Its own entry makes room for one id more, which nothing has.
  expect_refused({}, R"([{"content":"<x>","id":257},{"content":"<x>","id":257}])",
                 "no token has the id 256");
}

TEST(TokenizerFiles, WhatWeDoNotDoMayOnlyBeOff) {
  const TokenizerFolder folder;
  for (const char* off :
       {R"("dropout":null,)", R"("fuse_unk":false,)", R"("end_of_word_suffix":"",)"}) {
    folder.write("tokenizer.json", tokenizer_json({}, "[]", "[]", off));
    EXPECT_NO_THROW(folder.load()) << off;
  }
  for (const char* on :
       {R"("dropout":0.1,)", R"("fuse_unk":true,)", R"("end_of_word_suffix":"</w>",)"}) {
    folder.write("tokenizer.json", tokenizer_json({}, "[]", "[]", on));
    folder.expect_refused("tokenizer.json", on);
  }
  const std::string valid =
      read_file(real_file_system(), source_folder() / "models/msa-tiny/tokenizer.json", 1 << 26);
  for (const char* pointer :
       {"/pre_tokenizer/pretokenizers/0/invert", "/pre_tokenizer/pretokenizers/1/use_regex",
        "/pre_tokenizer/pretokenizers/1/add_prefix_space"}) {
    Json json = parse_json(valid, "tokenizer.json");
    json[Json::json_pointer(pointer)] = true;
    folder.write("tokenizer.json", json.dump());
    folder.expect_refused("tokenizer.json", pointer);
  }
}

TEST(TokenizerFiles, TheLongestSpecialTokenIsTakenAndOneOfTheSameBytesIsNone) {
  const TokenizerFolder folder;
  folder.write("tokenizer.json",
               tokenizer_json({"\u0120<x>"}, "[]",
                              R"([{"content":" <x>","id":257},{"content":" <x>>","id":258}])"));
  const auto tokenizer = folder.load();
  EXPECT_EQ(tokenizer->encode_with_special(" <x>> <x>"), (std::vector<int32_t>{258, 257}));
  EXPECT_TRUE(tokenizer->is_special(257));
  EXPECT_FALSE(tokenizer->is_special(256)) << "a plain token of the bytes of 257";
  EXPECT_FALSE(tokenizer->is_special(5000));
}

TEST(TokenizerFiles, VocabularyAndMergesOfEitherFamily) {
  const TokenizerFolder folder;
  Json vocab = byte_vocabulary();
  vocab["ab"] = 256U;
  vocab["<|endoftext|>"] = 257U;
  const auto load = [&](const std::string& config, const std::string& merges) {
    folder.write("vocab.json", vocab.dump());
    folder.write("tokenizer_config.json", config);
    folder.write("merges.txt", merges);
    return folder.load();
  };
  for (const char* merges :
       {"#version: 0.2\na b\n", "a b", "\n\na b\r\n\r\n", "#version: 0.2\r\na b"}) {
    EXPECT_EQ(load("{}", merges)->encode("ab"), std::vector<int32_t>{256}) << merges;
  }
  const std::string decomposed = "e\xCC\x81";
  EXPECT_EQ(load("{}", "a b")->special_id("<|endoftext|>"), 257);
  EXPECT_EQ(load("{}", "a b")->encode(decomposed).size(), 3U);
  EXPECT_EQ(load(R"({"added_tokens_decoder":{"257":{"content":"<|endoftext|>"}}})", "a b")
                ->special_id("<|endoftext|>"),
            257);
  for (const char* name : {"Qwen2TokenizerFast", "Qwen3Tokenizer"}) {
    const auto qwen = load(std::string(R"({"tokenizer_class":")") + name +
                               R"(","added_tokens_decoder":{"257":{"content":"<|endoftext|>"}}})",
                           "a b");
    EXPECT_EQ(qwen->encode(decomposed).size(), 2U) << name << " composes characters";
  }
  for (const char* id : {"", "1234567890", "25x", "-1"}) {
    folder.write("tokenizer_config.json", std::string(R"({"added_tokens_decoder":{")") + id +
                                              R"(":{"content":"<|endoftext|>"}}})");
    folder.expect_refused("tokenizer_config.json", id);
  }
}

TEST(TokenizerFiles, WordsOfTwoVocabulariesAreNotTakenForEachOther) {
  // Both keep their words in one table, where some of them meet.
  const TokenizerFolder folder;
  folder.write("tokenizer.json", tokenizer_json({}, "[]", "[]"));
  const auto first = folder.load();
  Json vocab = byte_vocabulary();
  for (auto& [spelling, id] : vocab.items()) id = 255 - id.get<uint64_t>();
  folder.write("tokenizer.json", R"({"model":{"type":"BPE","merges":[],"vocab":)" + vocab.dump() +
                                     R"(},"pre_tokenizer":{"type":"ByteLevel"}})");
  const auto second = folder.load();
  const std::string letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  for (const char a : letters) {
    for (const char b : letters) {
      for (const char c : letters) {
        const std::vector<int32_t> ids{a, b, c};
        ASSERT_EQ(first->encode(std::string{a, b, c}), ids);
        ASSERT_EQ(second->encode(std::string{a, b, c}),
                  (std::vector<int32_t>{255 - a, 255 - b, 255 - c}));
      }
    }
  }
}

}  // namespace
}  // namespace msa::text
