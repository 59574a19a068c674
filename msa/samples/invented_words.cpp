#include "msa/samples/invented_words.h"

#include <array>
#include <cctype>
#include <span>
#include <vector>

namespace msa::samples {
namespace {

using Words = std::span<const std::string_view>;

constexpr std::array<std::string_view, 58> kOnsets{
    "b",  "c",  "d",  "f",  "g",  "h",  "j",  "k",  "l",  "m",  "n",  "p",  "r",  "s",  "t",
    "v",  "w",  "x",  "y",  "z",  "bl", "br", "ch", "cl", "cr", "dr", "fl", "fr", "gl", "gr",
    "kh", "kl", "kn", "kr", "ph", "pl", "pr", "qu", "rh", "sc", "sh", "sk", "sl", "sm", "sn",
    "sp", "st", "sv", "th", "tr", "ts", "vl", "zh", "zw", "",   "",   "",   ""};
constexpr std::array<std::string_view, 20> kNuclei{"a",  "a",  "e",  "e",  "i",  "i",  "o",
                                                   "o",  "u",  "u",  "y",  "aa", "ai", "au",
                                                   "ea", "ee", "ia", "ie", "oo", "ou"};
constexpr std::array<std::string_view, 40> kCodas{
    "",  "",   "",   "",   "",   "",   "",   "",   "",   "",   "",   "",  "",  "b",
    "d", "f",  "g",  "k",  "l",  "m",  "n",  "n",  "p",  "r",  "r",  "s", "t", "x",
    "z", "ck", "ft", "ld", "lm", "nd", "nt", "rk", "rn", "sh", "sk", "th"};

constexpr std::array<std::string_view, 12> kMonths{"January",   "February", "March",    "April",
                                                   "May",       "June",     "July",     "August",
                                                   "September", "October",  "November", "December"};
constexpr std::array<std::string_view, 7> kWeekdays{"Monday", "Tuesday",  "Wednesday", "Thursday",
                                                    "Friday", "Saturday", "Sunday"};
constexpr std::array<std::string_view, 48> kPlaces{
    "Aberdeen", "Accra",   "Aleppo",  "Antwerp", "Baku",    "Bergen", "Bilbao",  "Bologna",
    "Boston",   "Bruges",  "Cairo",   "Cork",    "Cusco",   "Dakar",  "Darwin",  "Delft",
    "Dresden",  "Fez",     "Geneva",  "Ghent",   "Graz",    "Havana", "Hobart",  "Jaipur",
    "Kyoto",    "Lagos",   "Leipzig", "Lima",    "Lisbon",  "Lyon",   "Malacca", "Mombasa",
    "Nantes",   "Odessa",  "Oslo",    "Palermo", "Porto",   "Quito",  "Riga",    "Rouen",
    "Samara",   "Seville", "Tallinn", "Tampa",   "Tbilisi", "Turin",  "Utrecht", "Zagreb"};
constexpr std::array<std::string_view, 24> kColours{
    "amber", "beige", "black", "blue",   "brown",   "copper",    "crimson",   "cyan",
    "gold",  "green", "grey",  "indigo", "ivory",   "lilac",     "magenta",   "maroon",
    "mauve", "ochre", "olive", "purple", "scarlet", "turquoise", "vermilion", "white"};
constexpr std::array<std::string_view, 28> kAnimals{
    "badger", "beaver", "camel", "cat",    "crane",  "donkey", "duck",   "ferret", "fox", "goose",
    "hare",   "hawk",   "horse", "lizard", "llama",  "magpie", "mule",   "parrot", "pig", "pony",
    "rabbit", "raven",  "sheep", "snail",  "spider", "toad",   "turtle", "wolf"};
constexpr std::array<std::string_view, 26> kFoods{
    "barley",  "beetroot", "bread",   "cabbage", "carrots", "cheese",   "cherries",
    "dates",   "figs",     "herring", "honey",   "lentils", "millet",   "mushrooms",
    "noodles", "olives",   "onions",  "peas",    "plums",   "porridge", "pumpkin",
    "radish",  "rice",     "spinach", "turnips", "walnuts"};
constexpr std::array<std::string_view, 20> kInstruments{
    "bagpipes", "banjo",    "bassoon", "bugle", "cello", "clarinet", "cornet",
    "drums",    "fiddle",   "flute",   "gong",  "harp",  "lute",     "mandolin",
    "piano",    "recorder", "sitar",   "tuba",  "viola", "zither"};
constexpr std::array<std::string_view, 26> kTrades{
    "baker",      "barber",  "blacksmith", "bookbinder", "brewer", "butcher", "carpenter",
    "cartwright", "clerk",   "cobbler",    "cook",       "dyer",   "fisher",  "gardener",
    "glazier",    "hatter",  "locksmith",  "mason",      "miller", "painter", "potter",
    "roofer",     "saddler", "tailor",     "tinker",     "weaver"};
constexpr std::array<std::string_view, 22> kMaterials{
    "bamboo", "basalt", "brass", "brick",  "bronze", "cedar", "chalk",     "clay",
    "cork",   "felt",   "glass", "jade",   "lead",   "linen", "limestone", "marble",
    "oak",    "pewter", "pine",  "quartz", "slate",  "tin"};
constexpr std::array<std::string_view, 12> kUnits{"metres", "feet",  "miles",  "pounds",
                                                  "crowns", "acres", "litres", "barrels",
                                                  "steps",  "hours", "tonnes", "paces"};
constexpr std::array<std::string_view, 6> kJoints{" van ", " de ", " al ", " von ", "-", "-"};

constexpr std::array<std::string_view, 8> kPlainCodas{"k", "l", "m", "n", "r", "s", "t", "x"};
constexpr int64_t kNumPlainOnsets = 20;  // of one letter, the first ones
constexpr int64_t kNumPlainNuclei = 11;
constexpr double kPlainCodaShare = 0.25;
constexpr double kPlainWordShare = 0.6;

constexpr size_t kMaxLetters = 16;
constexpr size_t kMinLetters = 3;
constexpr size_t kMinLettersAlone = 5;
constexpr double kPlaceIsInvented = 0.5;

template <size_t kCount>
std::string one_of(const std::array<std::string_view, kCount>& words, Random& random) {
  return std::string(random.pick(words));
}

enum class Sound { kPlain, kAny };

/// Plain: "ba", "nel"; any: "khiack", "ou" too. Its parts are drawn from the last one on, each in a
/// statement of its own: compilers evaluate operands in any order.
std::string syllable(Sound sound, Random& random) {
  if (sound == Sound::kAny) {
    const std::string coda = one_of(kCodas, random);
    const std::string nucleus = one_of(kNuclei, random);
    return one_of(kOnsets, random) + nucleus + coda;
  }
  const std::string nucleus(kNuclei[static_cast<size_t>(random.below(kNumPlainNuclei))]);
  const std::string open =
      std::string(kOnsets[static_cast<size_t>(random.below(kNumPlainOnsets))]) + nucleus;
  return random.chance(kPlainCodaShare) ? open + one_of(kPlainCodas, random) : open;
}

Sound draw_sound(Random& random) {
  return random.chance(kPlainWordShare) ? Sound::kPlain : Sound::kAny;
}

char upper(char byte) { return static_cast<char>(std::toupper(static_cast<unsigned char>(byte))); }

bool is_letter(char byte) { return std::isalpha(static_cast<unsigned char>(byte)) != 0; }

std::string capitalised(std::string word) {
  if (!word.empty()) word[0] = upper(word[0]);
  return word;
}

/// A number of digits, the first above 0.
std::string digits(int64_t count, Random& random) {
  std::string number(1, static_cast<char>('0' + random.between(1, 9)));
  while (static_cast<int64_t>(number.size()) < count) {
    number += static_cast<char>('0' + random.below(10));
  }
  return number;
}

/// As a number plate, a password or a shelf mark: "KD-482", "9f3k", "Q7.118".
std::string code(Random& random) {
  constexpr std::string_view kLetters = "ABCDEFGHJKLMNPQRSTUVWXYZ";
  constexpr std::array<std::string_view, 6> kMarks{"", "", "-", "-", "/", "."};
  std::string out;
  const int64_t num_parts = random.between(1, 3);
  for (int64_t part = 0; part < num_parts; ++part) {
    if (part > 0) out += random.pick(kMarks);
    for (int64_t i = random.between(1, 3); i > 0; --i) out += random.pick(kLetters);
    for (int64_t i = random.between(1, 4); i > 0; --i) out += digits(1, random);
  }
  if (!random.chance(0.3)) return out;
  for (char& byte : out) byte = static_cast<char>(std::tolower(static_cast<unsigned char>(byte)));
  return out;
}

std::string date(Random& random) {
  const std::string day = std::to_string(random.between(1, 28));
  const std::string month = one_of(kMonths, random);
  const std::string year = std::to_string(random.between(1100, 2090));
  switch (random.below(4)) {
    case 0:
      return month + " " + day + ", " + year;
    case 1:
      return day + " " + month;
    default:
      return day + " " + month + " " + year;
  }
}

std::string time(Random& random) {
  const std::string minutes = std::to_string(random.between(100, 159)).substr(1);
  return std::to_string(random.between(1, 23)) + ":" + minutes;
}

/// Pieces between blanks and hyphens, as [begin, end).
std::vector<std::pair<size_t, size_t>> words_in(std::string_view name) {
  std::vector<std::pair<size_t, size_t>> words;
  for (size_t i = 0; i < name.size(); ++i) {
    if (!is_letter(name[i])) continue;
    if (i == 0 || !is_letter(name[i - 1])) words.emplace_back(i, i);
    words.back().second = i + 1;
  }
  return words;
}

/// `word` in the case of `like`.
std::string cased_as(std::string word, std::string_view like) {
  const bool is_upper = like.size() > 1 && like[1] == upper(like[1]);
  if (!like.empty() && like[0] == upper(like[0])) word[0] = upper(word[0]);
  if (is_upper) {
    for (char& byte : word) byte = upper(byte);
  }
  return word;
}

}  // namespace

std::string invented_word(Random& random, int64_t syllables) {
  for (;;) {
    std::string word;
    const int64_t count = syllables > 0 ? syllables : random.between(1, 4);
    const Sound sound = draw_sound(random);
    for (int64_t i = 0; i < count; ++i) word += syllable(sound, random);
    if (word.size() >= kMinLetters && word.size() <= kMaxLetters) return word;
  }
}

std::string invented_name(Random& random) {
  const double length = random.uniform();
  const int num_words = length < 0.25 ? 1 : length < 0.85 ? 2 : 3;
  std::string name;
  do {
    name = capitalised(invented_word(random, num_words == 1 ? random.between(2, 4) : 0));
  } while (num_words == 1 && name.size() < kMinLettersAlone);
  for (int i = 1; i < num_words; ++i) {
    name += random.chance(0.12) ? one_of(kJoints, random) : " ";
    name += capitalised(invented_word(random));
  }
  const double way = random.uniform();
  if (way < 0.12) {
    for (char& byte : name) {
      byte = static_cast<char>(std::tolower(static_cast<unsigned char>(byte)));
    }
  } else if (way < 0.18) {
    for (char& byte : name) byte = upper(byte);
  }
  return name;
}

std::string alike_name(std::string_view name, Random& random) {
  const auto words = words_in(name);
  std::string other(name);
  if (words.empty()) return other + " " + capitalised(invented_word(random));
  const auto [begin, end] = random.pick(words);
  const std::string_view old = name.substr(begin, end - begin);
  if (words.size() > 1 && random.chance(0.6)) {
    return other.replace(begin, end - begin, cased_as(invented_word(random), old));
  }
  // A syllable more, or another one at the word's begin or end.
  const size_t kept = old.size() / 2;
  const std::string fresh = syllable(draw_sound(random), random);
  std::string word(old);
  switch (random.below(3)) {
    case 0:
      word += fresh;
      break;
    case 1:
      word = word.substr(0, kept) + fresh;
      break;
    default:
      word = fresh + word.substr(kept);
  }
  for (char& byte : word) byte = static_cast<char>(std::tolower(static_cast<unsigned char>(byte)));
  return other.replace(begin, end - begin, cased_as(word, old));
}

std::string invented_value(ValueKind kind, Random& random) {
  switch (kind) {
    case ValueKind::kNumber:
      return digits(random.between(2, 7), random);
    case ValueKind::kCode:
      return code(random);
    case ValueKind::kWord:
      return random.chance(0.5) ? invented_word(random) : capitalised(invented_word(random));
    case ValueKind::kPerson: {
      const std::string family = capitalised(invented_word(random));
      return capitalised(invented_word(random)) + " " + family;
    }
    case ValueKind::kDate:
      return date(random);
    case ValueKind::kYear:
      return std::to_string(random.between(1100, 2090));
    case ValueKind::kTime:
      return time(random);
    case ValueKind::kMeasure: {
      const std::string unit = one_of(kUnits, random);
      return digits(random.between(1, 4), random) + " " + unit;
    }
    case ValueKind::kPlace:
      return random.chance(kPlaceIsInvented) ? capitalised(invented_word(random, 2))
                                             : one_of(kPlaces, random);
    case ValueKind::kColour:
      return one_of(kColours, random);
    case ValueKind::kAnimal:
      return one_of(kAnimals, random);
    case ValueKind::kFood:
      return one_of(kFoods, random);
    case ValueKind::kInstrument:
      return one_of(kInstruments, random);
    case ValueKind::kTrade:
      return one_of(kTrades, random);
    case ValueKind::kMaterial:
      return one_of(kMaterials, random);
    case ValueKind::kWeekday:
      return one_of(kWeekdays, random);
    case ValueKind::kMonth:
      return one_of(kMonths, random);
    case ValueKind::kMotto: {
      const std::string food = one_of(kFoods, random);
      return one_of(kMaterials, random) + " before " + food;
    }
  }
  return {};
}

}  // namespace msa::samples
