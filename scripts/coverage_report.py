#!/usr/bin/env python3
"""coverage_report.py JSON: what `llvm-cov export` says, as a table of folders and as a list of branches that were never taken in
what reads files from outside and in what commits. scripts/coverage.sh calls it."""
import json
import os
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
READERS = """base/json corpus/document_reader corpus/line_reader memory/bank_facts memory/catalog memory/catalog_rows memory/check_catalog
  memory/record_reader memory/segment_check memory/segment_layout memory/segment_use memory/verify_bank model/config model/int8_config
  model/stored_weights samples/token_store storage/int8_values storage/safetensors storage/segment_file storage/stored_values
  storage/tensor_files text/byte_pair_encoder text/tokenizer text/tokenizer_files train/config train/toml_text""".split()
COMMITS = """base/file_lock base/file_system base/generation_lock memory/bank_writer memory/change_catalog memory/compact_bank memory/copy_bank
  memory/merge_segments memory/retired_files memory/segment_writer storage/cipher storage/database storage/encrypted_files
  storage/page_vfs storage/sealed_file""".split()
NO_CORE = ("msa/memory/gpu_", "msa/memory/upload")  # needs a GPU
TEST_FILES = ("_test.cpp", "_fixture.h", "_oracle.h", "/losing_file_system.h", "/observed_file_system.h", "/file_damage.h", "/random_batch.h")


def branches_of(file):
    """Place -> [times true, times false, place in a macro]; a template's instances are one."""
    sums = defaultdict(lambda: [0, 0])
    for line, column, end_line, end_column, taken, not_taken, *_ in file.get("branches", ()):
        add(sums, (line, column, end_line, end_column), taken, not_taken)
    for expansion in file.get("expansions", ()):
        for line, column, end_line, end_column, taken, not_taken, *_ in expansion["branches"]:
            add(sums, tuple(expansion["source_region"][:4]) + (line, column), taken, not_taken)
    return sums


def add(sums, place, taken, not_taken):
    sums[place][0] += taken
    sums[place][1] += not_taken


def text_at(lines, place):
    line, column, end_line, end_column = place[:4]
    if len(place) > 4:  # a macro: its whole line
        return lines[line - 1].strip()
    if line == end_line:
        return lines[line - 1][column - 1:end_column - 1]
    return " ".join([lines[line - 1][column - 1:].strip()] + [text.strip() for text in lines[line:end_line - 1]]
                    + [lines[end_line - 1][:end_column - 1].strip()])


class Sums:
    def __init__(self):
        self.values = [0, 0, 0, 0]

    def add(self, file):
        lines = file["summary"]["lines"]
        branches = file["taken"]
        numbers = (lines["covered"], lines["count"], sum((a > 0) + (b > 0) for a, b in branches.values()), 2 * len(branches))
        self.values = [a + b for a, b in zip(self.values, numbers)]

    def row(self, name):
        lines, all_lines, branches, all_branches = self.values
        return (f"{name:32} {lines:6}/{all_lines:<6} lines {100 * lines / max(1, all_lines):5.1f} %  "
                f"{branches:6}/{all_branches:<6} branches {100 * branches / max(1, all_branches):5.1f} %")


def main():
    files = {}
    for file in json.load(open(sys.argv[1]))["data"][0]["files"]:
        name = os.path.relpath(os.path.realpath(file["filename"]), ROOT)
        if name.startswith("msa/") and not name.startswith(NO_CORE) and not name.endswith(TEST_FILES):
            files[name] = {**file, "taken": branches_of(file)}
    folders, core = defaultdict(Sums), Sums()
    for name, file in files.items():
        folder = name.split("/")[1]
        if folder != "kernels":
            folders[folder].add(file)
            core.add(file)
    for folder in sorted(folders):
        print(folders[folder].row(folder))
    print(core.row("together"))
    for title, stems in (("Readers", READERS), ("Commit path", COMMITS)):
        part = [f"msa/{stem}.{end}" for stem in stems for end in ("h", "cpp") if f"msa/{stem}.{end}" in files]
        sums = Sums()
        for name in part:
            sums.add(files[name])
        print("\n" + sums.row(title))
        for name in part:
            one = Sums()
            one.add(files[name])
            if one.values[3]:
                print(one.row("  " + name[len("msa/"):]))
        print(f"{title}: never taken")
        for name in part:
            lines = (ROOT / name).read_text().split("\n")
            for place, (taken, not_taken) in sorted(files[name]["taken"].items()):
                if not taken or not not_taken:
                    never = "never reached" if not taken and not not_taken else "never true" if not taken else "never false"
                    print(f"  {name}:{place[0]}: {never}: {text_at(lines, place)}")


if __name__ == "__main__":
    main()
