#!/usr/bin/env python3
"""Nothing that runs what a file says is called: no deserialiser of Python objects or TorchScript, no shell, no other program, no library but ours.

usage: forbidden_calls.py BUILD_FOLDER SOURCE_FOLDER

Looks at the symbols of our own objects (undefined ones, and those that a header brought in), at those of the program, and at the sources.
"""

import re
import subprocess
import sys
from pathlib import Path

SYMBOLS = re.compile(
    r"\btorch::(jit::)?(load|import|_import)\w*\(|pickle|Unpickler|\btorch::jit::|\bc10::intrusive_ptr<torch::jit|"
    r"^(system|popen|exec(l|le|lp|v|ve|vp|vpe|veat)|fexecve|posix_spawnp?|v?fork|dlopen|dlmopen|dlsym)(@.*)?$|"
    r"^(sqlite3_(enable_)?load_extension|Py_\w+|PyRun_\w+|luaL?_\w+)(@.*)?$", re.IGNORECASE)
SOURCES = re.compile(
    r"\b(system|popen|exec(l|le|lp|v|ve|vp|vpe)|posix_spawnp?|v?fork|dlopen|dlmopen|dlsym|eval|load_extension)\s*\(|"
    r"\btorch::(load|jit|pickle\w*)\b|\bpickle_load\b|torch/(script|serialize)", re.IGNORECASE)
# Where a library is loaded: libmsa_cuda.so from the program's folder, and libtorch_cuda.so beside libtorch for training.
LOADS = {"gpu.cpp": {"dlopen", "dlsym"}, "compute_device.cpp": {"dlopen"}}


def symbols_of(path, *flags):
    """(object, symbol) of an object, an archive or a program, as nm -C has them."""
    lines = subprocess.run(["nm", "-C", "-A", *flags, path], capture_output=True, text=True, check=True).stdout.splitlines()
    for line in lines:
        found = re.match(r"(.*?):\s*[0-9a-f]*\s+([A-Za-z]) (.*)$", line)
        if found:
            yield Path(found[1].split(":")[-1]).name.removesuffix(".o"), found[2], found[3]


def forbidden_symbols(paths, *flags):
    seen = 0
    for path in paths:
        for name, kind, symbol in symbols_of(path, *flags):
            seen += 1
            # What another library defines is its own affair; W and V are what a header brought in.
            if kind in "UuWwVvTt" and SYMBOLS.search(symbol):
                yield name, symbol.split("@")[0]
    if paths and not seen:
        yield "nm", "no symbol at all"


def is_allowed(name, symbol):
    return symbol in LOADS.get(name, set())


def forbidden_sources(source):
    for folder in ("msa", "cli"):
        for path in sorted((source / folder).rglob("*")):
            if path.suffix not in {".h", ".cpp", ".cu", ".cuh"} or path.name.endswith("_test.cpp"):
                continue
            for number, line in enumerate(path.read_text().splitlines(), 1):
                code = line.split("//")[0]
                found = SOURCES.search(code)
                if found and not (found[1] and is_allowed(path.name, found[1])):
                    yield f"{path.relative_to(source)}:{number}: {line.strip()}"


def self_test():
    for symbol in ("system", "popen@GLIBC_2.2.5", "execve", "dlopen", "torch::load(char const*)", "torch::jit::load(std::string const&)",
                   "torch::jit::Unpickler::readSlowWithBuffer()", "torch::pickle_load(std::vector<char>)"):
        assert SYMBOLS.search(symbol), symbol
    for symbol in ("msa::storage::Database::execute(std::string const&)", "std::system_category()", "msa::eval::run()", "execute"):
        assert not SYMBOLS.search(symbol), symbol
    for line in ('system("ls")', "torch::load(x)", "#include <torch/script.h>", "fork()"):
        assert SOURCES.search(line), line


def main():
    build, source = Path(sys.argv[1]), Path(sys.argv[2])
    self_test()
    archives = sorted(build.glob("lib/*/libmsa_*.a"))
    program = [build / "msa"] if (build / "msa").exists() else []
    objects = sorted(build.glob("cli/CMakeFiles/msa.dir/*.o"))
    assert archives, f"no library of ours in {build}"
    found = list(forbidden_symbols(archives + objects))
    problems = [f"{name}: {symbol}" for name, symbol in found if not is_allowed(name, symbol)]
    # That the search can find something: this one is there.
    assert ("gpu.cpp", "dlopen") in found, "the library of kernels loads nothing?"
    problems += [f"{build}/msa: {symbol}" for _, symbol in forbidden_symbols(program, "-D", "--undefined-only") if symbol not in {"dlopen", "dlsym"}]
    problems += forbidden_sources(source)
    for problem in problems:
        print(problem)
    print(f"{len(archives)} libraries, {len(objects)} objects, {len(program)} program: {len(problems)} forbidden")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
