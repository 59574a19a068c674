#include <charconv>
#include <string>

#include "msa/base/error.h"
#include "msa/train/config_keys.h"

namespace msa::train {
namespace {

std::string toml_string(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      constexpr std::string_view kDigits = "0123456789abcdef";
      result += "\\u00";
      result += kDigits[byte >> 4];
      result += kDigits[byte & 15];
    } else {
      result += c;
    }
  }
  return result + "\"";
}

/// The shortest text that reads as the same number, and as one that is no integer.
template <typename Number>
std::string number_text(Number value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  std::string result(text, end);
  if (result.find_first_of(".e") == std::string::npos) result += ".0";
  return result;
}

/// Writes one table, its values before the tables inside it.
class Printer {
 public:
  explicit Printer(std::string header) : header_(std::move(header)) {}

  void integer(std::string_view key, int64_t value, int64_t, int64_t) {
    line(key, std::to_string(value));
  }
  void number(std::string_view key, double value, double, double) { line(key, number_text(value)); }
  void number(std::string_view key, float value, double, double) { line(key, number_text(value)); }
  void boolean(std::string_view key, bool value) { line(key, value ? "true" : "false"); }
  void text(std::string_view key, const std::string& value) { line(key, toml_string(value)); }
  void path(std::string_view key, const std::filesystem::path& value) {
    if (!value.empty()) line(key, toml_string(value.string()));
  }
  void paths(std::string_view key, const std::vector<std::filesystem::path>& values) {
    std::string list;
    for (const auto& value : values)
      list += (list.empty() ? "" : ", ") + toml_string(value.string());
    line(key, "[" + list + "]");
  }
  void integers(std::string_view key, const std::vector<int64_t>& values, int64_t, int64_t) {
    std::string list;
    for (const int64_t value : values) list += (list.empty() ? "" : ", ") + std::to_string(value);
    line(key, "[" + list + "]");
  }
  template <typename Value, size_t kCount>
  void choice(std::string_view key, Value value, const std::array<Choice<Value>, kCount>& choices) {
    for (const auto& [name, choice] : choices) {
      if (choice == value) line(key, toml_string(name));
    }
  }
  template <typename Table>
  void table(std::string_view key, Table& table) {
    add_inner("[" + full(key) + "]", full(key), table);
  }
  template <typename Table>
  void tables(std::string_view key, std::vector<Table>& tables) {
    for (Table& table : tables) add_inner("[[" + full(key) + "]]", full(key), table);
  }
  void needs(std::string_view) {}
  void must(bool, std::string_view, std::string_view) {}

  std::string finish() const { return values_ + inner_; }

 private:
  void line(std::string_view key, const std::string& value) {
    values_ += std::string(key) + " = " + value + "\n";
  }
  std::string full(std::string_view key) const {
    return header_.empty() ? std::string(key) : header_ + "." + std::string(key);
  }
  template <typename Table>
  void add_inner(const std::string& title, const std::string& header, Table& table) {
    Printer printer(header);
    list_keys(printer, table);
    inner_ += "\n" + title + "\n" + printer.finish();
  }

  std::string header_;
  std::string values_;
  std::string inner_;
};

}  // namespace

std::string_view name_of(DeviceChoice device) {
  for (const auto& [name, choice] : kDevices) {
    if (choice == device) return name;
  }
  throw Error(ErrorCode::kInternal, "a device without a name");
}

std::string print_config(const TrainConfig& config) {
  TrainConfig copy = config;
  Printer printer("");
  list_keys(printer, copy);
  const std::string text = printer.finish();
  return text.substr(text.find_first_not_of('\n'));
}

}  // namespace msa::train
