#include "msa/memory/export_bank.h"

#include <optional>
#include <string>

#include "msa/base/json.h"

namespace msa::memory {
namespace {

std::string line_of(const Document& document) {
  const std::string what = "the attributes of the document \"" + document.name + "\"";
  OrderedJson line{{"id", document.name}, {"title", document.title}, {"text", document.text}};
  const Json attributes = parse_json(document.attributes, what);
  if (!attributes.is_object()) throw Error(ErrorCode::kCorruption, what, " are no object");
  for (const auto& [key, value] : attributes.items()) {
    if (line.contains(key)) throw Error(ErrorCode::kCorruption, what, " have the key ", key);
    line[key] = value;
  }
  try {
    return line.dump();
  } catch (const OrderedJson::exception&) {
    throw Error(ErrorCode::kCorruption, "the document \"", document.name, "\" is not UTF-8");
  }
}

}  // namespace

int64_t export_documents(const Bank& bank, const std::function<void(std::string_view)>& take,
                         const std::function<void(const Error&)>& on_problem) {
  int64_t count = 0;
  int64_t row = -1;  // every document has passages, side by side
  for (const Passage& passage : bank.passages()) {
    if (passage.document == row) continue;
    row = passage.document;
    std::optional<std::string> line;
    try {
      if (const auto document = bank.document_of(passage)) line = line_of(*document);
    } catch (const Error& error) {
      on_problem(error);
    }
    if (!line) continue;
    take(*line);
    ++count;
  }
  return count;
}

}  // namespace msa::memory
