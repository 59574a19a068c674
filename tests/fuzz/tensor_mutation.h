#pragma once
// Mutations of safetensors files.

#include <string>
#include <vector>

#include "msa/storage/safetensors.h"
#include "tests/fuzz/json_mutation.h"
#include "tests/fuzz/mutation.h"

namespace msa::fuzz {

/// Changes the name, type or shape of one tensor, or removes it.
inline void change_tensor(OrderedJson& header, const std::string& name, Random& random) {
  constexpr const char* kTypes[] = {"I8", "U8", "F16", "BF16", "F32", "F64", "I64"};
  OrderedJson& shape = header[name]["shape"];
  const bool has_sides = shape.is_array() && !shape.empty();
  switch (random() % 6) {
    case 0:
      header.erase(name);
      return;
    case 1:
      header[name]["dtype"] = kTypes[random() % std::size(kTypes)];
      return;
    case 2:
      if (has_sides) shape.erase(shape.size() - 1);
      return;
    case 3:
      if (shape.is_array()) shape.push_back(random() % 3);
      return;
    default:
      if (has_sides) shape[random() % shape.size()] = random() % 9;
  }
}

/// Other bytes, numbers that are not finite or negative, or another length.
inline std::string with_data_changed(std::string data, Random& random) {
  constexpr uint16_t kUpperHalves[] = {0x7f80, 0xff80, 0x7fc0, 0x7c00, 0xbf80, 0x7f7f, 0x0080};
  if (data.size() < 2 || chance(random, 3)) {
    data.resize(random() % (2 * data.size() + 9), 'x');
  } else if (chance(random, 2)) {
    data = mutated(data, data.size());
  } else {
    const uint16_t half = kUpperHalves[random() % std::size(kUpperHalves)];
    std::memcpy(data.data() + random() % (data.size() / 2) * 2, &half, sizeof half);
  }
  return data;
}

/// The file with another tensor in place of one, and all offsets made right: what only a reader
/// that wants certain tensors can refuse.
inline std::string with_tensor_changed(const std::string& file, size_t max_size, Random& random) {
  constexpr size_t kLengthBytes = 8;
  const uint64_t length = std::min<uint64_t>(load_number(file), file.size() - kLengthBytes);
  OrderedJson header = parsed(std::string_view(file).substr(kLengthBytes, length));
  std::vector<std::string> names;
  if (header.is_object()) {
    for (const auto& [name, value] : header.items()) {
      if (value.is_object() && value.contains("data_offsets")) names.push_back(name);
    }
  }
  if (names.empty()) return mutated(file, max_size);
  change_tensor(header, names[random() % names.size()], random);
  if (chance(random, 4)) {  // offsets and bytes stay
    const std::string after = to_text(header);
    return number_bytes(after.size()) + after + file.substr(kLengthBytes + length);
  }
  uint64_t end = 0;
  for (auto& [name, value] : header.items()) {
    if (!value.is_object() || !value.contains("shape") || !value["shape"].is_array()) continue;
    uint64_t bytes = 1;
    for (const auto type :
         {storage::DataType::kF16, storage::DataType::kBF16, storage::DataType::kF32,
          storage::DataType::kF64, storage::DataType::kI64}) {
      if (value["dtype"] == storage::data_type_name(type)) bytes = storage::data_type_bytes(type);
    }
    for (const OrderedJson& side : value["shape"]) {
      bytes *= side.is_number_unsigned() ? side.get<uint64_t>() : 1;
    }
    if (bytes > max_size - end) return mutated(file, max_size);
    value["data_offsets"] = {end, end + bytes};
    end += bytes;
  }
  const std::string after = to_text(header);
  std::string tensors = file.substr(kLengthBytes + length);
  tensors.resize(end, '\1');
  return number_bytes(after.size()) + after + tensors;
}

/// The file with another number in one of its tables of I64: the next, the one before, or one of
/// another place.
inline std::string with_number_changed(std::string file, Random& random) {
  constexpr size_t kLengthBytes = 8;
  const uint64_t length = std::min<uint64_t>(load_number(file), file.size() - kLengthBytes);
  const OrderedJson header = parsed(std::string_view(file).substr(kLengthBytes, length));
  std::vector<size_t> places;
  if (!header.is_object()) return mutated(file, file.size());
  for (const auto& [name, value] : header.items()) {
    if (!value.is_object() || !value.contains("dtype") || value["dtype"] != "I64") continue;
    if (!value.contains("data_offsets")) continue;
    const OrderedJson& offsets = value["data_offsets"];
    if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned()) continue;
    if (!offsets[1].is_number_unsigned()) continue;
    const size_t left = file.size() - kLengthBytes - length;
    const size_t end = std::min<uint64_t>(offsets[1].get<uint64_t>(), left);
    for (auto place = offsets[0].get<uint64_t>(); place < end && end - place >= 8; place += 8) {
      places.push_back(kLengthBytes + length + place);
    }
  }
  if (places.empty()) return mutated(file, file.size());
  const auto draw = [&] { return places[random() % places.size()]; };
  const uint64_t number = load_number(std::string_view(file).substr(draw()));
  return file.replace(draw(), 8, number_bytes(number + random() % 5 - 2));
}

/// A safetensors file with another header or other bytes of data; the header's length is made right
/// after most changes.
inline std::string with_header_mutated(const std::string& file, size_t max_size, Random& random) {
  constexpr size_t kLengthBytes = 8;
  if (file.size() < kLengthBytes || chance(random, 8)) return mutated(file, max_size);
  if (chance(random, 3)) return with_tensor_changed(file, max_size, random);
  const uint64_t length = std::min<uint64_t>(load_number(file), file.size() - kLengthBytes);
  std::string header = file.substr(kLengthBytes, length);
  std::string tensors = file.substr(kLengthBytes + length);
  if (chance(random, 4)) {
    tensors = with_data_changed(std::move(tensors), random);
  } else {
    header = with_text_mutated(std::move(header), "{}[],:", max_size - kLengthBytes, random);
  }
  return number_bytes(header.size()) + header + tensors;
}

}  // namespace msa::fuzz
