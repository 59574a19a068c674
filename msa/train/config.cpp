#include "msa/train/config.h"

// toml++ 3.3.0 asserts, or in a release lets clang assume, that what follows "[" begins a key.
// Without either it refuses "[=" as it should.
#pragma push_macro("NDEBUG")
#undef NDEBUG
#define TOML_ASSERT(expression) static_assert(true)
#include <toml++/toml.h>
#pragma pop_macro("NDEBUG")

#include <algorithm>
#include <charconv>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <sstream>

#include "msa/base/error.h"
#include "msa/train/config_keys.h"
#include "msa/train/toml_text.h"

namespace msa::train {
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 20;

/// What is known of the whole file and the command line.
struct Sources {
  std::string name;
  std::filesystem::path folder;
  std::map<std::string, std::string> settings;
  std::set<std::string> used_settings;

  /// True if a setting gives the key, or one inside it.
  bool sets(const std::string& key) const {
    if (settings.contains(key)) return true;
    const auto inside = settings.lower_bound(key + ".");
    return inside != settings.end() && inside->first.starts_with(key + ".");
  }

  [[noreturn]] void refuse(const toml::source_region& region, const std::string& message) const {
    throw Error(ErrorCode::kInvalidFormat, name, ":", region.begin.line, ":", region.begin.column,
                ": ", message);
  }
};

std::string range_text(std::string_view kind, const auto& lowest, const auto& highest) {
  std::ostringstream text;
  text << kind << " in [" << lowest << ", " << highest << "]";
  return text.str();
}

std::string shown(const toml::node& node) {
  std::ostringstream text;
  node.visit([&](const auto& value) { text << value; });
  std::string line = text.str().substr(0, 60);
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

/// One table of the file, read key by key. What a setting names is read from there instead.
class Reader {
 public:
  Reader(Sources& sources, const toml::table& table, std::string prefix,
         const toml::source_region& region)
      : sources_(sources), table_(table), prefix_(std::move(prefix)), region_(region) {}

  void integer(std::string_view key, int64_t& value, int64_t lowest, int64_t highest) {
    read(
        key, value, range_text("an integer", lowest, highest),
        [](const toml::node& node) { return node.value_exact<int64_t>(); },
        [](const std::string& text) { return whole<int64_t>(text); },
        [&](int64_t number) { return number >= lowest && number <= highest; });
  }
  void number(std::string_view key, double& value, double lowest, double highest) {
    read(
        key, value, range_text("a number", lowest, highest),
        [](const toml::node& node) {
          return node.is_number() ? node.value<double>() : std::nullopt;
        },
        [](const std::string& text) { return whole<double>(text); },
        [&](double number) { return number >= lowest && number <= highest; });
  }
  void number(std::string_view key, float& value, double lowest, double highest) {
    double wide = value;
    number(key, wide, lowest, highest);
    value = static_cast<float>(wide);
  }
  void boolean(std::string_view key, bool& value) {
    read(
        key, value, "true or false",
        [](const toml::node& node) { return node.value_exact<bool>(); },
        [](const std::string& text) {
          return text == "true" || text == "false" ? std::optional(text == "true") : std::nullopt;
        },
        [](bool) { return true; });
  }
  void text(std::string_view key, std::string& value) {
    read(key, value, "a string that is not empty", string_of, given,
         [](const std::string& text) { return !text.empty(); });
  }
  void path(std::string_view key, std::filesystem::path& value) {
    read(
        key, value, "a path that is not empty",
        [&](const toml::node& node) { return path_of(string_of(node)); },
        [&](const std::string& text) { return path_of(text); },
        [](const std::filesystem::path& path) { return !path.empty(); });
  }
  void paths(std::string_view key, std::vector<std::filesystem::path>& values) {
    read(
        key, values, "a list of paths",
        [&](const toml::node& node) {
          return list_of<std::filesystem::path>(
              node, [&](const toml::node& entry) { return path_of(string_of(entry)); });
        },
        [&](const std::string& text) {
          return split<std::filesystem::path>(
              text, [&](const std::string& part) { return path_of(part); });
        },
        [](const std::vector<std::filesystem::path>& paths) {
          return std::none_of(paths.begin(), paths.end(), [](const auto& p) { return p.empty(); });
        });
  }
  void integers(std::string_view key, std::vector<int64_t>& values, int64_t lowest,
                int64_t highest) {
    read(
        key, values, "a list of " + range_text("integers", lowest, highest),
        [](const toml::node& node) {
          return list_of<int64_t>(
              node, [](const toml::node& entry) { return entry.value_exact<int64_t>(); });
        },
        [](const std::string& text) { return split<int64_t>(text, whole<int64_t>); },
        [&](const std::vector<int64_t>& numbers) {
          return std::all_of(numbers.begin(), numbers.end(),
                             [&](int64_t n) { return n >= lowest && n <= highest; });
        });
  }
  template <typename Value, size_t kCount>
  void choice(std::string_view key, Value& value,
              const std::array<Choice<Value>, kCount>& choices) {
    std::string wanted;
    for (const auto& [name, choice] : choices) {
      wanted += (wanted.empty() ? "\"" : ", \"") + std::string(name) + "\"";
    }
    const auto chosen = [&](const std::optional<std::string>& text) -> std::optional<Value> {
      for (const auto& [name, choice] : choices) {
        if (text == name) return choice;
      }
      return std::nullopt;
    };
    read(
        key, value, "one of " + wanted,
        [&](const toml::node& node) { return chosen(string_of(node)); },
        [&](const std::string& text) { return chosen(text); }, [](Value) { return true; });
  }
  template <typename Table>
  void table(std::string_view key, Table& table) {
    seen_.insert(std::string(key));
    const toml::node* node = table_.get(key);
    if (node != nullptr && !node->is_table()) {
      refuse_value(key, *node, "a table");
    }
    static const toml::table kNone;
    const toml::table& inner = node == nullptr ? kNone : *node->as_table();
    read_table(full(key), inner, node == nullptr ? region_ : node->source(), table);
  }
  template <typename Table>
  void tables(std::string_view key, std::vector<Table>& tables) {
    seen_.insert(std::string(key));
    const toml::node* node = table_.get(key);
    if (node == nullptr) return;
    const toml::array* array = node->as_array();
    if (array == nullptr || array->empty() || !array->is_homogeneous(toml::node_type::table)) {
      refuse_value(key, *node, "one table or more: [[" + full(key) + "]]");
    }
    tables.resize(array->size());
    for (size_t i = 0; i < array->size(); ++i) {
      const toml::node& entry = *array->get(i);
      read_table(full(key) + "." + std::to_string(i), *entry.as_table(), entry.source(), tables[i]);
    }
  }
  void needs(std::string_view key) { needed_.emplace_back(key); }
  void must(bool holds, std::string_view key, std::string_view wanted) {
    if (!holds) broken_.emplace_back(key, wanted);
  }

  /// What can be said once all keys of the table are known.
  void finish() const {
    for (const auto& [key, node] : table_) {
      if (seen_.contains(std::string(key.str()))) continue;
      std::string known;
      for (const std::string& name : seen_) known += (known.empty() ? "" : ", ") + name;
      sources_.refuse(key.source(),
                      "there is no key \"" + full(key.str()) + "\"; keys here: " + known);
    }
    for (const std::string& key : needed_) {
      if (table_.contains(key) || sources_.sets(full(key))) continue;
      sources_.refuse(region_, "the key \"" + full(key) + "\" is missing");
    }
    for (const auto& reader : inner_) reader->finish();
    for (const auto& [key, wanted] : broken_) {
      const toml::node* node = table_.get(key);
      sources_.refuse(node == nullptr ? region_ : node->source(),
                      "\"" + full(key) + "\" must be " + wanted);
    }
  }

 private:
  template <typename Table>
  void read_table(const std::string& prefix, const toml::table& node,
                  const toml::source_region& region, Table& table) {
    inner_.push_back(std::make_unique<Reader>(sources_, node, prefix, region));
    list_keys(*inner_.back(), table);
  }

  std::string full(std::string_view key) const {
    return prefix_.empty() ? std::string(key) : prefix_ + "." + std::string(key);
  }

  [[noreturn]] void refuse_value(std::string_view key, const toml::node& node,
                                 const std::string& wanted) const {
    sources_.refuse(node.source(),
                    "\"" + full(key) + "\" must be " + wanted + ", got " + shown(node));
  }

  template <typename Value, typename OfNode, typename OfText, typename IsGood>
  void read(std::string_view key, Value& value, const std::string& wanted, OfNode of_node,
            OfText of_text, IsGood is_good) {
    seen_.insert(std::string(key));
    const auto setting = sources_.settings.find(full(key));
    if (setting != sources_.settings.end()) {
      sources_.used_settings.insert(setting->first);
      const std::optional<Value> found = of_text(setting->second);
      MSA_CHECK(found && is_good(*found), "--set ", setting->first, ": must be ", wanted, ", got ",
                setting->second.substr(0, 60));
      value = *found;
    } else if (const toml::node* node = table_.get(key)) {
      const std::optional<Value> found = of_node(*node);
      if (!found || !is_good(*found)) refuse_value(key, *node, wanted);
      value = *found;
    }
  }

  static std::optional<std::string> string_of(const toml::node& node) {
    return node.value_exact<std::string>();
  }
  static std::optional<std::string> given(const std::string& text) { return text; }

  std::optional<std::filesystem::path> path_of(const std::optional<std::string>& text) const {
    if (!text) return std::nullopt;
    if (text->empty() || text->find('\0') != std::string::npos) return std::filesystem::path();
    return (sources_.folder / *text).lexically_normal();
  }

  template <typename Number>
  static std::optional<Number> whole(const std::string& text) {
    Number number{};
    const char* end = text.data() + text.size();
    const auto result = std::from_chars(text.data(), end, number);
    if (result.ec != std::errc() || result.ptr != end) return std::nullopt;
    return number;
  }

  template <typename Value, typename OfEntry>
  static std::optional<std::vector<Value>> list_of(const toml::node& node, OfEntry of_entry) {
    const toml::array* array = node.as_array();
    if (array == nullptr) return std::nullopt;
    std::vector<Value> values;
    for (const toml::node& entry : *array) {
      const std::optional<Value> value = of_entry(entry);
      if (!value) return std::nullopt;
      values.push_back(*value);
    }
    return values;
  }

  template <typename Value, typename OfPart>
  static std::optional<std::vector<Value>> split(const std::string& text, OfPart of_part) {
    std::vector<Value> values;
    std::istringstream parts(text);
    for (std::string part; std::getline(parts, part, ',');) {
      const std::optional<Value> value = of_part(part);
      if (!value) return std::nullopt;
      values.push_back(*value);
    }
    return values;
  }

  Sources& sources_;
  const toml::table& table_;
  std::string prefix_;
  const toml::source_region& region_;
  std::set<std::string> seen_;
  std::vector<std::unique_ptr<Reader>> inner_;  // of the tables in it
  std::vector<std::string> needed_;
  std::vector<std::pair<std::string, std::string>> broken_;
};

/// What stands elsewhere is no TOML, and the parser must not see it.
void expect_letters_in_strings(const Sources& sources, std::string_view text) {
  const std::optional<size_t> place = find_letter_outside_strings(text);
  if (!place) return;
  const std::string_view before = text.substr(0, *place);
  const auto line = static_cast<toml::source_index>(1 + std::ranges::count(before, '\n'));
  const std::string_view in_line = before.substr(before.rfind('\n') + 1);  // all, if in the first
  const auto letters = std::ranges::count_if(
      in_line, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; });
  const toml::source_position at{line, static_cast<toml::source_index>(1 + letters)};
  sources.refuse({at, at, nullptr}, "letters beyond ASCII must stand in strings or comments");
}

}  // namespace

Setting parse_setting(const std::string& text) {
  const size_t equals = text.find('=');
  MSA_CHECK(equals != std::string::npos && equals > 0, "--set must be KEY=VALUE, got ",
            text.substr(0, 100));
  return {.key = text.substr(0, equals), .value = text.substr(equals + 1)};
}

TrainConfig parse_config(std::string_view text, const std::string& name,
                         const std::filesystem::path& folder,
                         const std::vector<Setting>& settings) {
  Sources sources{.name = name, .folder = folder, .settings = {}, .used_settings = {}};
  for (const Setting& setting : settings) sources.settings[setting.key] = setting.value;
  expect_letters_in_strings(sources, text);
  toml::table table;
  try {
    table = toml::parse(text);
  } catch (const toml::parse_error& error) {
    sources.refuse(error.source(), "not TOML: " + std::string(error.description()));
  }
  TrainConfig config;
  Reader reader(sources, table, "", table.source());
  list_keys(reader, config);
  reader.finish();
  for (const auto& [key, value] : sources.settings) {
    MSA_CHECK(sources.used_settings.contains(key), "--set ", key, ": there is no such key");
  }
  for (PhaseConfig& phase : config.phases) {
    for (const DataSource& source : config.data.sources) {
      phase.mixture.sources.push_back(
          {.documents = source.weight, .questions = source.question_weight});
    }
  }
  return config;
}

TrainConfig load_config(FileSystem& files, const std::filesystem::path& path,
                        const std::vector<Setting>& settings) {
  return parse_config(read_file(files, path, kMaxConfigBytes), path.string(),
                      std::filesystem::absolute(path).parent_path(), settings);
}

}  // namespace msa::train
