#pragma once
// What a training run does: the structs behind its TOML file, with their defaults.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/samples/mixture.h"
#include "msa/train/auxiliary_method.h"
#include "msa/train/schedule.h"

namespace msa::train {

/// kAuto: the GPU where there is one.
enum class DeviceChoice { kAuto, kCpu, kGpu };

std::string_view name_of(DeviceChoice device);  // "gpu"

/// Activation checkpointing: what is made again in the backward pass in place of being kept.
enum class Recompute {
  kNone,
  kLayers,  // all that a layer makes; its input is kept
};

struct RunConfig {  // [run]
  int64_t seed = 1;
  std::filesystem::path output;  // folder of checkpoints, log and report; created if not there
  DeviceChoice device = DeviceChoice::kCpu;
  int64_t threads = 0;  // 0: one a core
  Recompute recompute = Recompute::kNone;
  double checkpoint_seconds = 300;  // between two checkpoints
  int64_t keep = 3;                 // newest checkpoints that stay
};

/// In what numbers products are computed. Master weights and optimizer state are float32 in both.
enum class Numbers { kFloat32, kBFloat16 };

struct ModelSource {                // [model]: exactly one of `from` and `config`
  std::filesystem::path from;       // model folder that the run begins with
  std::filesystem::path config;     // config.json of a model that begins with random weights
  std::filesystem::path tokenizer;  // folder; `from` where empty
  Numbers precision = Numbers::kFloat32;
};

struct DataSource {  // [[data.source]]
  std::string name;
  std::filesystem::path documents;
  std::vector<std::filesystem::path> questions;
  double weight = 1;           // of its documents among those of all sources
  double question_weight = 1;  // of its questions
  bool needs_all_gold = true;  // false: the gold documents of a question are alternatives
};

struct DataConfig {  // [data]
  std::filesystem::path cache;
  std::vector<std::filesystem::path> held_back;  // files of question ids that never enter training
  int64_t max_document_tokens = 480;
  std::vector<DataSource> sources;
};

enum class OptimizerMethod {
  kMuon,   // matrices by Muon, the others by AdamW
  kAdamW,  // all
};

struct OptimizerConfig {  // [optimizer]
  OptimizerMethod method = OptimizerMethod::kMuon;
  double momentum = 0.95;      // of Muon
  double weight_decay = 0.05;  // of matrices, times the rate
  double beta1 = 0.9;          // of AdamW
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double embedding_rate = 0.6;  // factors of the phase's rate: embeddings and an untied head
  double vector_rate = 0.5;     // norms
  double scalar_rate = 0.5;     // temperature and b
  double clip = 1;              // longest gradient over all tensors; 0: as long as it is
};

struct GuardConfig {        // [guard]
  int64_t window = 100;     // losses that the median is taken over
  double deviations = 10;   // a loss this many deviations above the median is a spike; 0: none is
  double norm_ratio = 100;  // and a gradient this many times as long as the median; 0: none is
  int64_t max_skipped = 5;  // steps skipped one after the other that stop the run
};

struct LossWeights {  // [phase.losses]
  double language = 1;
  double auxiliary = 0;
  double ids = 0;
  double reconstruction = 0;
  double answer = 0;
  double documents = 0;  // running text of the memory's documents
};

struct AuxiliaryConfig {  // [phase.auxiliary]
  AuxiliaryMethod method = AuxiliaryMethod::kInfonceDecouple;
  double temperature = 0;           // the model's own where 0
  bool learns_temperature = false;  // within [0.001, 0.5]
  int64_t negatives = 0;            // a question; 0: all documents of the batch
};

enum class Trained { kAll, kRouters };

/// What the routers begin the phase with.
enum class RouterStart {
  kAsTheyAre,
  kTied,           // router_q of every query head = router_k of its kv head
  kAttentionKeys,  // the same after router_k = k_proj
  kRandom,         // each drawn anew by itself: to see what tying is worth
};

struct PhaseConfig {  // [[phase]]
  std::string name;
  double rate = 0;  // highest of the phase
  Trained train = Trained::kAll;
  RouterStart routers = RouterStart::kAsTheyAre;
  int64_t top_k = 0;        // documents chosen in a router layer; the model's own where 0
  bool force_gold = false;  // the gold documents are always among the chosen
  double dropout = 0;       // share of what attention and MLP add to the stream, of a step
  StopRule stop;
  ScheduleConfig schedule;
  LossWeights losses;
  AuxiliaryConfig auxiliary;
  samples::Mixture mixture;  // its sources are those of [[data.source]]
};

struct EvaluationConfig {              // [evaluation]
  int64_t every_steps = 0;             // 0: never
  int64_t questions = 500;             // held back, at most
  int64_t readings = 200;              // of them, with their texts appended, at most
  std::vector<int64_t> memory_tokens;  // sizes of the memories that they are asked over, rising
};

struct MiningConfig {                  // [mining]: groups for phases with mixture.similar_share
  int64_t every_steps = 0;             // of such a phase; 0: never, its groups are found by words
  int64_t questions = 8'192;           // of training, a time
  int64_t memory_tokens = 16'777'216;  // that they are asked over; all documents if they fit
  int64_t documents = 6;               // best ranked ones of a group, beside the gold ones
};

struct TrainConfig {
  RunConfig run;
  ModelSource model;
  DataConfig data;
  OptimizerConfig optimizer;
  GuardConfig guard;
  EvaluationConfig evaluation;
  MiningConfig mining;
  std::vector<PhaseConfig> phases;
};

/// One `--set a.b=c`. Entries of an array are named by their place from 0: phase.0.rate.
struct Setting {
  std::string key;
  std::string value;  // read as the type of the key; entries of a list are joined by commas
};

/// "a.b=c" in two. Throws Error(kInvalidArgument) where there is no key or no '='.
Setting parse_setting(const std::string& text);

/// Reads a config. `name` is its file in messages; relative paths in it and in settings start at
/// `folder`. Throws Error(kInvalidFormat) with file, line, column, key, what was wanted and what
/// came: TOML that does not parse, a key that does not exist or is missing, a value of another type
/// or out of range, values that do not fit together; Error(kInvalidArgument) for a setting.
TrainConfig parse_config(std::string_view text, const std::string& name,
                         const std::filesystem::path& folder,
                         const std::vector<Setting>& settings = {});

/// The same for a file.
TrainConfig load_config(FileSystem& files, const std::filesystem::path& path,
                        const std::vector<Setting>& settings = {});

/// Every key with its value as TOML. parse_config of it gives the same config in any folder.
std::string print_config(const TrainConfig& config);

}  // namespace msa::train
