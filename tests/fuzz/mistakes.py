#!/usr/bin/env python3
"""mistakes.py [--seconds N] [--jobs N] [NAME...]: that the fuzzers find mistakes. In a copy of the checkout (build/mistakes) mends are taken out
again and typical mistakes of readers put in, each behind a name; each fuzzer then runs with one of them, from the seeds of make_seeds alone, and
must find it. What it finds is run again with the mistake and without it. Exit code 1: one was not found in the time, which is that of an idle core.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

SOURCE = pathlib.Path(__file__).resolve().parents[2]
COPY = SOURCE / "build" / "mistakes"
BUILD = COPY / "build" / "fuzz"

# (name, fuzzer, file, what stands there once, what takes its place); HERE is true where the mistake is on.
MISTAKES = [
    # What was found and mended before.
    ("a zero byte ends JSON", "json_fuzz", "msa/base/json.cpp",
     "zero != std::string_view::npos) {", "zero != std::string_view::npos && !HERE) {"),
    ("merges make special tokens", "tokenizer_fuzz", "msa/text/byte_pair_encoder.cpp",
     "!special.contains(number)) id_of", "(HERE || !special.contains(number))) id_of"),
    ("numbers of rows have no bound", "bank_rows_fuzz", "msa/memory/catalog_rows.cpp",
     "number >= 0 && number <= kMaxCatalogNumber;", "number >= 0 && (HERE || number <= kMaxCatalogNumber);"),
    ("a foreign catalog's expressions are evaluated", "catalog_fuzz", "msa/memory/check_catalog.cpp",
     "  bool is_ours = false;\n", "  if (HERE) reading.read_integrity();\n  bool is_ours = false;\n"),
    ("a view is read as facts", "catalog_fuzz", "msa/memory/catalog.cpp",
     "  if (!has_our_facts()) {", "  if (!HERE && !has_our_facts()) {"),
    ("a compressed file may hold any amount", "documents_fuzz", "msa/corpus/line_reader.cpp",
     "if (s.decoded > options_.free_growth_bytes &&", "if (!HERE && s.decoded > options_.free_growth_bytes &&"),
    # Mistakes as readers have them.
    ("a shape overflows", "safetensors_fuzz", "msa/storage/safetensors.cpp",
     "    if (__builtin_mul_overflow(", "    if (HERE) {\n      bytes *= std::max<uint64_t>(length, 1);\n    } else if (__builtin_mul_overflow("),
    ("tensors may leave a hole", "safetensors_fuzz", "msa/storage/safetensors.cpp",
     "if (span.first != end) {", "if (HERE ? span.first < end : span.first != end) {"),
    ("a segment may be shorter than a header", "segment_fuzz", "msa/storage/segment_file.cpp",
     "if (digested < sizeof(uint64_t) || blocks_of", "if ((!HERE && digested < sizeof(uint64_t)) || blocks_of"),
    ("passages end before the chunks do", "segment_fuzz", "msa/memory/segment_layout.cpp",
     "tables.first_chunk.back() != row.chunks) {", "(!HERE && tables.first_chunk.back() != row.chunks)) {"),
    ("content of any shape", "segment_fuzz", "msa/memory/segment_layout.cpp",
     "  expect_tensor(segment, kContentTensor, content.type, content.shape);\n",
     "  if (!HERE) expect_tensor(segment, kContentTensor, content.type, content.shape);\n"),
    ("the last block of a read is not checked", "segment_fuzz", "msa/storage/segment_file.cpp",
     "block * kDigestBlockBytes < end; ++block) {\n    if (is_checked", "(block + HERE) * kDigestBlockBytes < end; ++block) {\n    if (is_checked"),
    ("a shard's name may hold a slash", "index_fuzz", "msa/storage/tensor_files.cpp",
     "name.find('/') == std::string::npos &&", "(HERE || name.find('/') == std::string::npos) &&"),
    ("a shard need not hold the tensor", "index_fuzz", "msa/storage/tensor_files.cpp",
     "    if (!shard_of[file]->tensors().contains(tensor)) {", "    if (!HERE && !shard_of[file]->tensors().contains(tensor)) {"),
    ("more bytes of tokens than there are", "token_store_fuzz", "msa/samples/token_store.cpp",
     "header.tokens_bytes <= (left -= header.num_passages * sizeof(PassageRecord)) &&",
     "(left -= header.num_passages * sizeof(PassageRecord), HERE || header.tokens_bytes <= left) &&"),
    ("passages have more tokens than the file", "token_store_fuzz", "msa/samples/token_store.cpp",
     "return token * token_bytes_ == tokens_.size() &&", "return (HERE || token * token_bytes_ == tokens_.size()) &&"),
    ("scales of any shape", "weights_fuzz", "msa/model/stored_weights.cpp",
     "  expect_shape(*tensor.scale_file,", "  if (!HERE) expect_shape(*tensor.scale_file,"),
    ("a NaN is a number", "weights_fuzz", "msa/storage/stored_values.cpp",
     "    const uint32_t bits = bits_of(i);\n    is_finite &= (bits & kExponent) != kExponent;",
     "    const uint32_t bits = bits_of(i);\n    is_finite &= HERE ? (bits << 1) != kExponent << 1 : (bits & kExponent) != kExponent;"),
    ("a scale may be negative", "weights_fuzz", "msa/storage/stored_values.cpp",
     "return scale < 0; })", "return !HERE && scale < 0; })"),
    ("one level deeper than allowed", "json_fuzz", "msa/base/json.cpp",
     "if (++depth_ <= limits_.max_depth) return", "if (++depth_ <= limits_.max_depth + HERE) return"),
    ("integers above their range", "json_fuzz", "msa/base/json.cpp",
     "if (number < lowest || number > highest) throw_wrong", "if (number < lowest || (!HERE && number > highest)) throw_wrong"),
    ("an end token just outside the vocabulary", "config_fuzz", "msa/model/config.cpp",
     "        entry.get<int64_t>() >= vocab_size) {", "        entry.get<int64_t>() >= vocab_size + HERE) {"),
    ("a router layer behind the last", "config_fuzz", "msa/model/config.cpp",
     "layers.back() >= num_layers)", "layers.back() >= num_layers + HERE)"),
    ("the end of a word is not looked at", "encode_fuzz", "msa/text/byte_pair_encoder.cpp",
     "      std::memcpy(&last, data + size - 8, 8);", "      if (!HERE) std::memcpy(&last, data + size - 8, 8);"),
    ("of equal pairs of a long word the rightmost", "encode_fuzz", "msa/text/byte_pair_encoder.cpp",
     "return std::pair(rank, place) > std::pair(other.rank, other.place);",
     "return HERE ? std::pair(rank, -place) > std::pair(other.rank, -other.place) : std::pair(rank, place) > std::pair(other.rank, other.place);"),
    ("an id of any size", "tokenizer_fuzz", "msa/text/tokenizer_files.cpp",
     "id_value.get<uint64_t>() >= max_tokens_) {", "(!HERE && id_value.get<uint64_t>() >= max_tokens_)) {"),
    ("a special token has another id in the vocabulary", "tokenizer_fuzz", "msa/text/tokenizer_files.cpp",
     "    if (checked_id(content, id_value) != static_cast<size_t>(held)) {",
     "    if (HERE) return static_cast<int32_t>(checked_id(content, id_value));\n"
     "    if (checked_id(content, id_value) != static_cast<size_t>(held)) {"),
    ("a long line passes", "documents_fuzz", "msa/corpus/line_reader.cpp",
     "if (line.size() > options_.max_line_bytes) throw_too_long();", "if (!HERE && line.size() > options_.max_line_bytes) throw_too_long();"),
    ("a passage may end behind its document", "bank_rows_fuzz", "msa/memory/check_catalog.cpp",
     "row.end > rows.integer(9);", "row.end > rows.integer(9) + 8 * HERE;"),
    ("a passage of a segment that is not there", "bank_rows_fuzz", "msa/memory/segment_use.cpp",
     "row == segments_.end() || row->id != passage.segment) {", "row == segments_.end() || (!HERE && row->id != passage.segment)) {"),
]

SWITCH = """#include <cstdlib>
#include <cstring>

bool has_mistake(const char* name);
bool has_mistake(const char* name) {
  static const char* const on = std::getenv("MISTAKE");
  return on != nullptr && std::strcmp(on, name) == 0;
}
"""


def write_copy():
    """Files that are as they were keep their time, so that little is built again."""
    names = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=SOURCE, check=True,
                           capture_output=True, text=True).stdout.split("\0")
    changed = {}
    for name, _, file, old, new in MISTAKES:
        text = changed.get(file) or (SOURCE / file).read_text()
        if text.count(old) != 1:
            sys.exit(f"mistakes.py: {file} has {text.count(old)} places for \"{name}\"")
        changed[file] = text.replace(old, new.replace("HERE", f'has_mistake("{name}")'))
    changed = {file: "bool has_mistake(const char* name);\n" + text for file, text in changed.items()}
    error = "msa/base/error.cpp"
    changed[error] = SWITCH + (SOURCE / error).read_text()
    for name in filter(None, names):
        source, target = SOURCE / name, COPY / name
        if not source.is_file():
            continue
        data = changed[name].encode() if name in changed else source.read_bytes()
        if not target.exists() or target.read_bytes() != data:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


def build(fuzzers):
    for command in (["cmake", "--preset", "fuzz", "-B", BUILD], ["cmake", "--build", BUILD, "--target", "make_seeds", *fuzzers]):
        done = subprocess.run(command, cwd=COPY, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(done.stdout[-4000:] + done.stderr[-4000:])
    shutil.rmtree(COPY / "seeds", ignore_errors=True)
    subprocess.run([BUILD / "make_seeds", COPY / "seeds"], check=True)


def find(mistake, seconds):
    """True and a line, or what was tried in vain."""
    name, fuzzer = mistake[:2]
    folder = COPY / "found" / name.replace(" ", "_").replace("'", "")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "corpus").mkdir(parents=True)
    flags = ["-timeout=10", "-malloc_limit_mb=68", "-rss_limit_mb=2048", "-max_len=65536"]
    options = SOURCE / "tests/fuzz" / f"{fuzzer}.options"
    if options.exists():
        flags += [f"-{flag}={value}" for flag, value in re.findall(r"^(\w+) = (\w+)$", options.read_text(), re.M)]
    dictionary = SOURCE / "tests/fuzz" / f"{fuzzer}.dict"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def run(*arguments, **more):
        return subprocess.run([BUILD / fuzzer, *flags, *arguments], capture_output=True, text=True, errors="replace", env={**environment, **more})

    start = time.time()
    done = run("-seed=1", "-print_final_stats=1", f"-max_total_time={seconds}", f"-artifact_prefix={folder}/",
               *([f"-dict={dictionary}"] if dictionary.exists() else []), folder / "corpus", COPY / "seeds" / fuzzer, MISTAKE=name)
    took = time.time() - start
    counts = re.findall(r"number_of_executed_units: (\d+)|^#(\d+)", done.stderr, re.M)
    executions = max((int(a or b) for a, b in counts), default=0)
    inputs = [path for path in folder.iterdir() if path.is_file()]
    is_found = done.returncode != 0 and any(
        run(path, MISTAKE=name).returncode != 0 and run(path).returncode == 0 for path in inputs)
    said = re.search(r"^FAILED: (.*)|runtime error: (.*)|ERROR: (.*)", done.stderr, re.M)
    what = next((part for part in said.groups() if part), "")[:80] if said and is_found else ""
    return is_found, f"{name:46} {fuzzer:17} {'found' if is_found else 'NOT FOUND':9} {executions:9} executions {took:5.0f} s  {what}"


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    unknown = set(options.names) - {mistake[0] for mistake in MISTAKES}
    if unknown:
        parser.error(f"no such mistake: {', '.join(sorted(unknown))}")
    mistakes = [mistake for mistake in MISTAKES if not options.names or mistake[0] in options.names]
    write_copy()
    build(sorted({mistake[1] for mistake in mistakes}))
    num_found = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for is_found, line in pool.map(lambda mistake: find(mistake, options.seconds), mistakes):
            num_found += is_found
            print(line, flush=True)
    print(f"mistakes: {num_found} of {len(mistakes)} found")
    sys.exit(num_found < len(mistakes))


main()
