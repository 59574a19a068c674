#!/usr/bin/env python3
"""Checks that includes only point down, that torch stays where tensors are, and how files begin and how long they are.

A source includes its own header first: so the build shows that the header compiles on its own.

usage: check_layers.py [--self-test]
"""

import re
import sys
from pathlib import Path

LAYERS = {
    "base": set(),
    "text": {"base"},
    "storage": {"base"},
    "kernels": {"base"},
    "corpus": {"base", "text"},
    "samples": {"base", "text", "corpus", "storage"},
    "ops": {"base", "kernels"},
    "autograd": {"base", "kernels", "ops"},
    "memory": {"base", "storage", "kernels"},
    "model": {"base", "storage", "kernels", "ops", "memory"},
    "engine": {"base", "text", "corpus", "storage", "kernels", "ops", "memory", "model"},
    "eval": {"base", "text", "corpus", "storage", "kernels", "ops", "memory", "model", "engine"},
    "train": {"base", "text", "corpus", "samples", "storage", "kernels", "autograd", "memory", "model"},
}
WITH_TORCH = {"ops", "autograd", "model", "engine", "eval", "train"}
MAX_LINES = 400
GENERATED = {"unicode_tables.cpp"}
ANY_INCLUDE = re.compile(r'#include [<"]([^>"]+)', re.MULTILINE)
INCLUDE = re.compile(r'#include [<"]((msa)/(\w+)/|(torch|ATen|c10)/|(cli|tests)/)')


def problems_of(folder: str, name: str, text: str, has_header: bool = False) -> list[str]:
    problems = []
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        found = INCLUDE.match(line)
        if not found:
            continue
        target = found[3]
        if found[5]:
            problems.append(f"{number}: the library includes {found[5]}/")
        elif found[4] and folder not in WITH_TORCH:
            problems.append(f"{number}: {folder} must not include torch headers")
        elif target and target != folder and target not in LAYERS[folder]:
            problems.append(f"{number}: {folder} must not include {target}")
        if line.startswith(("#include <torch/torch.h>", "#include <ATen/ATen.h>")):
            problems.append(f"{number}: include <ATen/core/Tensor.h> and the operators in use, <ATen/ops/NAME.h>: half the time")
    first = ANY_INCLUDE.search(text)
    own = f"msa/{folder}/{name.removesuffix('.cpp')}.h"
    if has_header and (first is None or first[1] != own):
        problems.append(f"1: a source includes its own header first: {own}")
    if name.endswith(".h") and not (lines[0] == "#pragma once" and lines[1].startswith("// ")):
        problems.append("1: a header begins with #pragma once and a line that says what it is for")
    if len(lines) > MAX_LINES and name not in GENERATED and not name.endswith("_test.cpp"):
        problems.append(f"{len(lines)}: more than {MAX_LINES} lines: split by concept")
    return problems


def self_test() -> None:
    header = "#pragma once\n// What for.\n"
    assert not problems_of("memory", "a.h", header + '#include "msa/storage/digest.h"\n')
    assert problems_of("storage", "a.h", header + '#include "msa/memory/bank.h"\n')
    assert problems_of("memory", "a.cpp", "#include <ATen/ATen.h>\n")
    assert problems_of("base", "a.h", "#pragma once\n#include <string>\n")
    assert problems_of("ops", "a.cpp", "#include <ATen/ATen.h>\n")
    assert problems_of("base", "a.cpp", "\n" * (MAX_LINES + 1))
    assert problems_of("base", "a.cpp", "#include <map>\n", has_header=True)
    assert not problems_of("base", "a.cpp", '#include "msa/base/a.h"\n', has_header=True)


def main() -> int:
    if "--self-test" in sys.argv:
        self_test()
    root = Path(__file__).resolve().parent.parent / "msa"
    failures = 0
    for path in sorted(root.glob("*/*")):
        if path.suffix in {".h", ".cpp"}:
            has_header = path.suffix == ".cpp" and path.with_suffix(".h").exists()
            for problem in problems_of(path.parent.name, path.name, path.read_text(), has_header):
                print(f"{path.relative_to(root.parent)}:{problem}")
                failures += 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
