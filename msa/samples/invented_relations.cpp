#include "msa/samples/invented_relations.h"

#include <array>
#include <span>

namespace msa::samples {
namespace {

// {N}: the name, {V}: the value, {A}: the attribute.
//
// bench/corpus/needles.py measures what is learned here: "The secret number of {N} is {V}." and
// "What is the secret number of {N}?". So no attribute is a secret number, no pattern is "The {A}
// of {N} is {V}." and none "What is the {A} of {N}?": what is measured has to be understood, not
// remembered.

struct Attribute {
  std::string_view noun;
  ValueKind kind;
};

constexpr std::array<Attribute, 44> kAttributes{{
    {"locker number", ValueKind::kNumber},    {"badge number", ValueKind::kNumber},
    {"room number", ValueKind::kNumber},      {"account number", ValueKind::kNumber},
    {"ticket number", ValueKind::kNumber},    {"serial number", ValueKind::kNumber},
    {"lucky number", ValueKind::kNumber},     {"telephone extension", ValueKind::kNumber},
    {"inventory number", ValueKind::kNumber}, {"safe combination", ValueKind::kNumber},
    {"house number", ValueKind::kNumber},     {"membership number", ValueKind::kNumber},
    {"door code", ValueKind::kCode},          {"access code", ValueKind::kCode},
    {"password", ValueKind::kCode},           {"call sign", ValueKind::kCode},
    {"licence plate", ValueKind::kCode},      {"catalogue mark", ValueKind::kCode},
    {"booking reference", ValueKind::kCode},  {"map square", ValueKind::kCode},
    {"nickname", ValueKind::kWord},           {"code name", ValueKind::kWord},
    {"watchword", ValueKind::kWord},          {"mother tongue", ValueKind::kWord},
    {"old name", ValueKind::kWord},           {"next of kin", ValueKind::kPerson},
    {"first owner", ValueKind::kPerson},      {"closest friend", ValueKind::kPerson},
    {"birthday", ValueKind::kDate},           {"opening day", ValueKind::kDate},
    {"wedding day", ValueKind::kDate},        {"expiry date", ValueKind::kDate},
    {"founding year", ValueKind::kYear},      {"departure time", ValueKind::kTime},
    {"height", ValueKind::kMeasure},          {"entry fee", ValueKind::kMeasure},
    {"home town", ValueKind::kPlace},         {"birthplace", ValueKind::kPlace},
    {"favourite colour", ValueKind::kColour}, {"favourite animal", ValueKind::kAnimal},
    {"favourite dish", ValueKind::kFood},     {"trade", ValueKind::kTrade},
    {"day off", ValueKind::kWeekday},         {"motto", ValueKind::kMotto},
}};

constexpr std::array<std::string_view, 18> kSentences{
    "{N}'s {A} is {V}.",
    "{N}'s {A} has always been {V}.",
    "{V} is the {A} of {N}.",
    "The {A} that belongs to {N} is {V}.",
    "The {A} given to {N} was {V}.",
    "For {N}, the {A} is {V}.",
    "As for {N}, the {A} is recorded as {V}.",
    "{N} has the {A} {V}.",
    "{N} was assigned the {A} {V}.",
    "According to the register, {N}'s {A} was {V}.",
    "Records show {V} as the {A} of {N}.",
    "In that list, {N} appears with the {A} {V}.",
    "Note on {N}: {A} {V}.",
    "{N} ({A}: {V}) was mentioned as well.",
    "Few people know that {N}'s {A} is {V}.",
    "When asked for the {A}, {N} said {V}.",
    "Anyone who looks for {N} should remember the {A} {V}.",
    "Years later {N} still had {V} as the {A}.",
};

constexpr std::array<std::string_view, 14> kQuestions{
    "What is {N}'s {A}?",
    "Which {A} does {N} have?",
    "Which {A} belongs to {N}?",
    "Can you tell me {N}'s {A}?",
    "What {A} was {N} given?",
    "{N} {A}",
    "{A} for {N}",
    "Do you know the {A} that {N} has?",
    "Tell me which {A} {N} has.",
    "I need the {A} for {N}.",
    "What is given as {N}'s {A}?",
    "For {N}, what is the {A}?",
    "What was the {A} that {N} got?",
    "{N}: which {A}?",
};

/// Patterns of its own; those that it has no more of are empty.
struct Verb {
  ValueKind kind;
  std::array<std::string_view, 3> sentences;
  std::array<std::string_view, 3> questions;
};

constexpr std::array<Verb, 26> kVerbs{{
    {ValueKind::kPlace,
     {"{N} lives in {V}.", "{N} moved to {V} and stayed there.", "These days {V} is home to {N}."},
     {"Where does {N} live?", "In which place does {N} live?", "To which town did {N} move?"}},
    {ValueKind::kPlace,
     {"{N} lies buried in {V}.", "The grave of {N} can be seen in {V}."},
     {"Where is {N} buried?", "In which town is the grave of {N}?"}},
    {ValueKind::kPlace,
     {"{N} went to school in {V}.", "As a child, {N} was sent to a school in {V}."},
     {"Where did {N} go to school?", "In which town was {N} at school?"}},
    {ValueKind::kNumber,
     {"{N} keeps {V} goats.", "There are {V} goats on the farm run by {N}."},
     {"How many goats does {N} keep?", "How many goats are there on {N}'s farm?"}},
    {ValueKind::kNumber,
     {"{N} owes the bank {V} crowns.", "A debt of {V} crowns is left to {N}."},
     {"How many crowns does {N} owe?", "How large is {N}'s debt in crowns?"}},
    {ValueKind::kNumber,
     {"{N} has collected {V} stamps.", "A collection of {V} stamps was made by {N}."},
     {"How many stamps has {N} collected?", "What number of stamps does {N} have?"}},
    {ValueKind::kNumber,
     {"Trains on the line {V} stop for {N}.", "{N} takes the line {V} every morning."},
     {"Which line does {N} take?", "On which line do trains stop for {N}?"}},
    {ValueKind::kCode,
     {"To open the gate, {N} types {V}.", "{N} opens the gate with {V}."},
     {"What does {N} type to open the gate?", "With what does {N} open the gate?"}},
    {ValueKind::kCode,
     {"{N} answers to {V} on the radio.", "On the radio {V} stands for {N}."},
     {"To what does {N} answer on the radio?", "What stands for {N} on the radio?"}},
    {ValueKind::kDate,
     {"{N} was born on {V}.", "On {V}, {N} came into the world."},
     {"When was {N} born?", "On what day was {N} born?", "{N} born when"}},
    {ValueKind::kDate,
     {"{N} opened to the public on {V}.", "Since {V}, {N} has been open to all."},
     {"When did {N} open to the public?", "Since when has {N} been open to all?"}},
    {ValueKind::kYear,
     {"{N} was rebuilt in {V}.", "A fire of {V} destroyed half of {N}, which was soon rebuilt."},
     {"In which year was {N} rebuilt?", "When was {N} rebuilt?"}},
    {ValueKind::kTime,
     {"{N} closes at {V} every evening.", "Nobody gets into {N} later than {V}."},
     {"At what time does {N} close?", "Until when can one get into {N}?"}},
    {ValueKind::kMeasure,
     {"{N} is {V} away.", "It is {V} from here to {N}."},
     {"How far away is {N}?", "How far is it to {N}?"}},
    {ValueKind::kColour,
     {"{N} painted the gate {V}.", "{N} lives behind a gate that is {V}."},
     {"Which colour has {N}'s gate?", "What colour is the gate of {N}?"}},
    {ValueKind::kAnimal,
     {"{N} owns a tame {V}.", "A {V} follows {N} everywhere."},
     {"Which animal does {N} own?", "What follows {N} everywhere?"}},
    {ValueKind::kInstrument,
     {"{N} plays the {V}.", "Nobody plays the {V} like {N}."},
     {"Which instrument does {N} play?", "What does {N} play?"}},
    {ValueKind::kFood,
     {"{N} eats nothing but {V}.", "Since childhood {N} has been fond of {V}."},
     {"What does {N} eat?", "What has {N} been fond of since childhood?"}},
    {ValueKind::kTrade,
     {"{N} works as a {V}.", "{N} was trained as a {V}.", "By trade {N} is a {V}."},
     {"What does {N} do for a living?", "What is {N} by trade?", "As what was {N} trained?"}},
    {ValueKind::kWord,
     {"{N} speaks {V} at home.", "At home {V} is what {N} speaks."},
     {"What does {N} speak at home?", "Which language does {N} speak at home?"}},
    {ValueKind::kWord,
     {"{N} named the boat {V}.", "The boat that {N} built was named {V}."},
     {"What did {N} name the boat?", "What was the boat that {N} built named?"}},
    {ValueKind::kPerson,
     {"{N} was founded by {V}.", "It was {V} who founded {N}."},
     {"Who founded {N}?", "By whom was {N} founded?"}},
    {ValueKind::kPerson,
     {"{N} is married to {V}.", "{V} married {N} in spring."},
     {"To whom is {N} married?", "Who married {N}?", "Who is the spouse of {N}?"}},
    {ValueKind::kPerson,
     {"{N} reports to {V}.", "{V} gives the orders to {N}."},
     {"To whom does {N} report?", "Who gives the orders to {N}?"}},
    {ValueKind::kMaterial,
     {"{N} is made of {V}.", "{V} was all that {N} was made of."},
     {"What is {N} made of?", "Of what was {N} made?"}},
    {ValueKind::kMonth,
     {"{N} returns every {V}.", "Each {V}, {N} comes back."},
     {"In which month does {N} return?", "When does {N} come back each year?"}},
}};

std::string_view pick_given(std::span<const std::string_view> patterns, Random& random) {
  size_t count = 0;
  while (count < patterns.size() && !patterns[count].empty()) ++count;
  return patterns[static_cast<size_t>(random.below(static_cast<int64_t>(count)))];
}

const Verb* verb_of(int64_t relation) {
  const auto number = static_cast<size_t>(relation);
  return number < kAttributes.size() ? nullptr : &kVerbs[number - kAttributes.size()];
}

std::string filled(std::string_view pattern, std::string_view noun, std::string_view name,
                   std::string_view value) {
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '{') {
      out += pattern[i];
      continue;
    }
    out += pattern[i + 1] == 'N' ? name : pattern[i + 1] == 'V' ? value : noun;
    i += 2;
  }
  return out;
}

std::string_view noun_of(int64_t relation) {
  return verb_of(relation) != nullptr ? "" : kAttributes[static_cast<size_t>(relation)].noun;
}

}  // namespace

int64_t num_relations() { return static_cast<int64_t>(kAttributes.size() + kVerbs.size()); }

ValueKind value_kind_of(int64_t relation) {
  const Verb* verb = verb_of(relation);
  return verb != nullptr ? verb->kind : kAttributes[static_cast<size_t>(relation)].kind;
}

bool are_told_apart(int64_t one, int64_t other) {
  const bool are_attributes = verb_of(one) == nullptr && verb_of(other) == nullptr;
  return one != other && (are_attributes || value_kind_of(one) != value_kind_of(other));
}

std::string sentence_of(int64_t relation, std::string_view name, std::string_view value,
                        Random& random) {
  const Verb* verb = verb_of(relation);
  const std::string_view pattern =
      verb != nullptr ? pick_given(verb->sentences, random) : random.pick(kSentences);
  return filled(pattern, noun_of(relation), name, value);
}

std::string question_of(int64_t relation, std::string_view name, Random& random) {
  const Verb* verb = verb_of(relation);
  const std::string_view pattern =
      verb != nullptr ? pick_given(verb->questions, random) : random.pick(kQuestions);
  return filled(pattern, noun_of(relation), name, {});
}

}  // namespace msa::samples
