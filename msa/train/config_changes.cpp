#include "msa/train/config_changes.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>

namespace msa::train {
namespace {

using Values = std::vector<std::pair<std::string, std::string>>;  // full key, value

/// "[a.b]" opens table a.b, "[[a.b]]" the next one of its array, named a.b.0 and so on; tables
/// inside the array are of its last one.
class TableNames {
 public:
  std::string open(std::string_view title) {
    const bool is_array = title.starts_with("[[");
    const size_t frame = is_array ? 2 : 1;
    const std::string name(title.substr(frame, title.size() - 2 * frame));
    if (is_array) ++num_tables_[name];
    return numbered(name);
  }

 private:
  std::string numbered(const std::string& name) const {
    std::string path;
    std::string result;
    for (size_t begin = 0; begin <= name.size();) {
      const size_t end = std::min(name.find('.', begin), name.size());
      const std::string part = name.substr(begin, end - begin);
      path += (path.empty() ? "" : ".") + part;
      result += (result.empty() ? "" : ".") + part;
      const auto found = num_tables_.find(path);
      if (found != num_tables_.end()) result += "." + std::to_string(found->second - 1);
      begin = end + 1;
    }
    return result;
  }

  std::map<std::string, int64_t> num_tables_;
};

Values values_of(std::string_view text) {
  Values values;
  TableNames names;
  std::string table;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const size_t equals = line.find(" = ");
    if (line.starts_with('[')) {
      table = names.open(line);
    } else if (equals != std::string_view::npos) {
      values.emplace_back((table.empty() ? "" : table + ".").append(line.substr(0, equals)),
                          line.substr(equals + 3));
    }
  }
  return values;
}

}  // namespace

std::vector<std::string> config_changes(std::string_view before, std::string_view now) {
  const Values old_values = values_of(before);
  const Values new_values = values_of(now);
  const std::map<std::string, std::string> was(old_values.begin(), old_values.end());
  const std::map<std::string, std::string> is(new_values.begin(), new_values.end());
  const auto value_in = [](const std::map<std::string, std::string>& values,
                           const std::string& key) {
    const auto found = values.find(key);
    return found == values.end() ? std::string("not there") : found->second;
  };
  std::vector<std::string> changes;
  const auto add = [&](const std::string& key) {
    changes.push_back(key + " = " + value_in(was, key) + " before, " + value_in(is, key) + " now");
  };
  for (const auto& [key, value] : old_values) {
    if (value_in(is, key) != value) add(key);
  }
  for (const auto& [key, value] : new_values) {
    if (!was.contains(key)) add(key);
  }
  return changes;
}

}  // namespace msa::train
