#!/usr/bin/env python3
"""Every document that is given to `msa ingest` is stored, there already or reported with a code, and the program says so.

usage: ingest_report_test.py MSA FAULTS_LIBRARY SOURCE_FOLDER

A thousand documents, good ones and bad ones of every kind, and runs that end early by a fault at every stage: inputs that cannot be opened
or read, a model that cannot encode, disks that fail or run full at any call, signals. After each run what it said (counts, codes, lines,
exit code) is compared with the bank, document by document, and the next run goes on. MSA_SEED draws other documents and moments.
"""

import concurrent.futures
import contextlib
import ctypes
import errno
import fcntl
import json
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

from ingest_documents import Document, Inputs, events_of
from ingest_run import EXIT_CODES, Checks, Program, State, compare_run, read_state, sums_of

SEED = int(os.environ.get("MSA_SEED", "7"))
FLAGS = ("--max-passage-tokens", 32)

# (name, faults, least and most N, code): a run that has begun ends so. BANK and INPUTS are folders.
STOPS = [
    ("segment, disk full", "write BANK/tmp/ {n} full {ENOSPC}", 8, 30, "no_space"),
    ("segment, cannot be made", "open BANK/tmp/ {n} error {EMFILE}", 2, 5, "io"),
    ("segment, no room for its name", "open BANK/tmp/ {n} errors {ENOSPC}", 2, 5, "no_space"),
    ("segment, sync fails", "sync BANK/tmp/ {n} error {EIO}", 2, 5, "io"),
    ("segment, cannot be renamed", "rename BANK/segments/ {n} error {EIO}", 2, 5, "io"),
    ("folder, sync fails", "sync BANK/segments {n} error {EIO}", 3, 6, "io"),
    ("log, disk full", "write BANK/catalog.db-wal {n} full {ENOSPC}", 20, 70, "no_space"),
    ("log, quota", "write BANK/catalog.db-wal {n} errors {EDQUOT}", 20, 70, "no_space"),
    ("log, sync fails", "sync BANK/catalog.db-wal {n} error {EIO}", 4, 8, "io"),
    ("log, every sync fails", "sync BANK/catalog.db-wal {n} errors {EIO}", 4, 8, "io"),
    ("disk is gone", "sync BANK {n} errors {EIO};write BANK/catalog {m} errors {EIO};open BANK/tmp 8 errors {EIO}", 12, 24, "io"),
    ("volume is full", "statvfs BANK {n} free 1000", 4, 12, "no_space"),
    ("SIGTERM at a segment", "rename BANK/segments/ {n} signal {SIGTERM}", 2, 5, "interrupted"),
    ("SIGTERM at a commit", "sync BANK/catalog.db-wal {n} signal {SIGTERM}", 4, 8, "interrupted"),
    ("SIGTERM while reading", "read INPUTS/h_lines.jsonl {n} signal {SIGTERM}", 1, 2, "interrupted"),
    ("SIGINT before encoding", "statvfs BANK {n} signal {SIGINT}", 4, 12, "interrupted"),
    ("SIGTERM, then the disk fails", "statvfs BANK 1 signal {SIGTERM};rename BANK/segments/ 1 error {EIO}", 1, 1, {"io", "interrupted"}),
    ("SIGKILL in the log", "write BANK/catalog.db-wal {n} signal {SIGKILL}", 20, 70, "SIGKILL"),
    ("SIGKILL at a commit", "sync BANK/catalog.db-wal {n} signal {SIGKILL}", 4, 8, "SIGKILL"),
]
# The same before there is a bank to write to. SQLite does not say of each of its files that it found no room.
NO_BANK = [
    ("no bank can be made", "make BANK 1 error {ENOSPC}", {"no_space"}),
    ("no lock", "open BANK/LOCK 1 error {ENOSPC}", {"no_space"}),
    ("no catalog", "open BANK/catalog 1 error {EACCES}", {"io"}),
    ("a catalog that is not written", "write BANK/catalog {n} full {ENOSPC}", {"no_space", "io"}),
    ("a catalog that is not synced", "sync BANK/catalog 1 error {EIO}", {"io"}),
]
# Inputs that fail: the file, and from which line on; the run goes on without the rest of it.
BAD_INPUTS = [
    ("open INPUTS/b_lines.jsonl 1 error {EACCES}", "b_lines.jsonl", 0, "io"),
    ("open INPUTS/b_lines.jsonl 2 error {EMFILE}", "b_lines.jsonl", 0, "io"),
    ("open INPUTS/y_lines.jsonl 2 error {ENOENT}", "y_lines.jsonl", 0, "not_found"),
    ("read INPUTS/c_lines.jsonl.zst 1 error {EIO}", "c_lines.jsonl.zst", 1, "io"),
    ("read INPUTS/h_lines.jsonl 2 error {EIO}", "h_lines.jsonl", None, "io"),  # at the line that does not end in the first piece
    ("read INPUTS/a_texts/005.txt 1 error {EIO}", "a_texts/005.txt", 0, "io"),
]


def broken_model(source, folder):
    """A small model in which one token overflows in the first layer, and no other knows of it: no other has anything in the first column
    of the embeddings, whose weight there is the largest number."""
    shutil.copytree(source / "tests/data/golden/tiny-msa", folder)
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    with open(folder / "model.safetensors", "r+b") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(length))

        def put(name, index, *values):
            file.seek(8 + length + header[name]["data_offsets"][0] + 4 * index)
            file.write(struct.pack(f"<{len(values)}f", *values))

        rows, columns = header["model.embed_tokens.weight"]["shape"]
        for row in range(rows):
            put("model.embed_tokens.weight", row * columns, 0)
        bell = vocabulary["\u0107"]  # how vocabularies spell this byte
        put("model.embed_tokens.weight", bell * columns, 1, *[0] * (columns - 1))
        put("model.layers.0.input_layernorm.weight", 0, 3.4e38)
    return folder


class Scenario:
    """One bank, runs that fill it piece by piece, and what they must say."""

    def __init__(self, test, name, replaces=False, inputs=None, folder=None):
        self.test, self.name, self.replaces = test, name, replaces
        self.draw = random.Random(f"{SEED} {name}")
        self.checks, self.program = test.checks, test.program
        self.inputs = inputs or test.inputs
        self.bank = (folder or test.work) / name.replace(" ", "_")
        self.start_from(State())

    def start_from(self, state):
        self.state, self.num_at_first = state, len(state.documents)

    def faults(self, text, n=1):
        names = {name: getattr(errno, name) for name in ("ENOSPC", "EIO", "EMFILE", "EDQUOT", "EACCES", "ENOENT")}
        names |= {name: int(getattr(signal, name)) for name in ("SIGTERM", "SIGINT", "SIGKILL")}
        text = text.format(n=n, m=5 * n, **names)
        return text.replace("BANK", str(self.bank)).replace("INPUTS", str(self.inputs.folder))

    def run(self, what, code, *flags, faults="", unseen=lambda document: False, extra=(), **options):
        """`code`: of the error, or a set of them; empty: it does all. `extra`: documents, as problems are, that only this run has."""
        what = f"{self.name}, {what}"
        may_have_more = options.pop("may_have_more", False)
        documents = [document for document in self.inputs.documents() if not unseen(document)]
        events = events_of([*documents, *extra], self.state.contents(), self.replaces)
        run = self.program.ingest(self.bank, self.inputs.folder, *FLAGS, *["--upsert"] * self.replaces, *flags, faults=faults, **options)
        after = read_state(self.bank)
        codes = code if isinstance(code, set) else {code}
        wanted = {-signal.SIGKILL if one == "SIGKILL" else EXIT_CODES.get(one, 0) for one in codes}
        self.checks.same(f"{what}: exit code in {wanted}, {run.err[-300:]}", run.exit_code in wanted, True)
        if run.is_json and run.exit_code >= 0:
            self.checks.same(f"{what}: error", run.error in codes, True)
            self.checks.same(f"{what}: exit code of {run.error}", run.exit_code, EXIT_CODES.get(run.error, 0))
        added = compare_run(self.checks, what, run, self.state, after, events, may_end_early=run.exit_code != 0,
                            may_have_more=may_have_more)
        self.state = after
        if run.exit_code != 0:
            self.checks.count_stop(added)
        return run

    def finish(self):
        """What is left is done, and the program finds nothing wrong with the bank."""
        self.run("the rest", "")
        wanted = {"ok": True, "problems": []}
        self.checks.same(f"{self.name}: bank verify", self.program.json_of("bank", "verify", self.bank), wanted)

    def compare_stat(self):
        stat = self.program.json_of("bank", "stat", self.bank)
        sums = sums_of(self.state.documents)
        self.checks.same(f"{self.name}: bank stat", {key: stat.get(key) for key in sums}, sums)

    def must_have_begun(self, what, run):
        self.checks.same(f"{self.name}, {what}: has counts", bool(run.report), run.exit_code >= 0)


class Test:
    def __init__(self, msa, faults_library, source, work):
        self.work, self.checks = work, Checks()
        self.program = Program(msa, faults_library, broken_model(source, work / "model"))
        self.inputs = Inputs(work / "inputs", SEED)
        self.changed = Inputs(work / "changed", SEED + 1)  # other texts, many of them of the same names
        self.skipped = []

    def whole_runs(self):
        """Without faults: commits of several sizes, as JSON and as text; again there is nothing to do."""
        for tokens, is_json in ((400, False), (200_000, True)):
            scenario = Scenario(self, f"whole {tokens}")
            scenario.run("first", "", "--commit-tokens", tokens, is_json=is_json)
        scenario.run("again", "", is_json=False)
        scenario.compare_stat()

    def stops(self, name, stops, replaces=False):
        """Runs that end early, one after another. A bank that is nearly full gives way to a new one."""
        number, scenario = 0, None
        for what, faults, least, most, code in stops:
            if scenario is None or len(scenario.state.documents) - scenario.num_at_first > 450:
                if scenario:
                    scenario.finish()
                number += 1
                scenario = self.changed_bank(f"{name} {number}") if replaces else Scenario(self, f"{name} {number}")
            n = scenario.draw.randint(least, most)
            tokens = scenario.draw.choice([100, 160])
            is_json = scenario.draw.random() < 0.75
            self.stop(scenario, f"{what}, {n}", code, "--commit-tokens", tokens, faults=scenario.faults(faults, n), is_json=is_json,
                      may_have_more=what == "disk is gone")
        scenario.finish()

    def stop(self, scenario, what, code, *flags, **options):
        run = scenario.run(what, code, *flags, **options)
        scenario.must_have_begun(what, run)

    def changed_bank(self, name):
        """A bank whose documents have other texts than those that are to take their places."""
        scenario = Scenario(self, name, replaces=True, inputs=self.changed)
        run = self.program.ingest(scenario.bank, self.inputs.folder, *FLAGS)
        self.checks.same(f"{name}: first run", run.exit_code, 0)
        scenario.start_from(read_state(scenario.bank))
        return scenario

    def no_banks(self):
        """Faults before there is a bank, the lock of another process, inputs that are not there, no room for the summary."""
        scenario = Scenario(self, "no bank")
        for what, faults, codes in NO_BANK:
            scenario.run(what, codes, faults=scenario.faults(faults, scenario.draw.randint(1, 4)))
        run = self.program.ingest(scenario.bank, self.work / "missing", *FLAGS)
        self.checks.same("missing input", (run.exit_code, run.error, run.report), (EXIT_CODES["not_found"], "not_found", {}))
        with open(scenario.bank / "LOCK", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            scenario.run("locked", "locked")
        run = self.program.ingest(scenario.bank, self.inputs.folder, *FLAGS, stdout="/dev/full")
        self.checks.same("a summary that cannot be written", (run.exit_code, run.report), (EXIT_CODES["no_space"], {}))
        scenario.start_from(read_state(scenario.bank))
        events = events_of(self.inputs.documents(), {}, replaces=False)
        self.checks.same("all is stored nevertheless", len(scenario.state.documents), sum(event.kind == "store" for event in events))

    def bad_inputs(self):
        """Files that cannot be opened or read: they are reported, their documents are taken by a later run."""
        scenario = Scenario(self, "bad inputs")
        for part in (BAD_INPUTS[::2], BAD_INPUTS[1::2]):
            places = {}
            for _, name, line, code in part:
                file = str(self.inputs.folder / name)
                if line is None:
                    line = next(document.line for document in self.inputs.read if document.file == file and document.is_long)
                places[file] = Document(file, line, code=code)
            scenario.run(f"{places.keys()}", "", faults=";".join(scenario.faults(faults) for faults, *_ in part),
                         unseen=lambda document: document.file in places and document.line >= places[document.file].line,
                         extra=places.values())
        scenario.finish()

    def limits(self):
        """A limit on the size of files, which the log meets, and SIGTERM at any moment, in a batch that holds all documents."""
        scenario = Scenario(self, "limits")
        scenario.run("files of 250 KiB", "no_space", "--commit-tokens", 200,
                     max_file_bytes=250 << 10)
        for _ in range(2):
            pause = scenario.draw.uniform(0.05, 0.25)

            def interrupt(number):
                lock = scenario.bank / "LOCK"  # has the number of the process that writes
                for _ in range(10_000):
                    if lock.exists() and lock.read_text() == str(number):
                        break
                    time.sleep(0.005)
                time.sleep(pause)
                with contextlib.suppress(ProcessLookupError):  # it was done before
                    os.kill(number, signal.SIGTERM)

            scenario.run(f"SIGTERM after {pause:.2f} s", {"interrupted", ""}, while_running=interrupt)
        scenario.finish()

    def small_volumes(self):
        """File systems that are really full: of bytes, of names, and below what must stay free."""
        folder = self.work / "volume"
        folder.mkdir()
        if not mount("-t", "tmpfs", "-o", "size=500k", "none", str(folder)):
            self.skipped.append("small volumes (no mounts are allowed here)")
            return
        try:
            self.fill_volume(folder, Scenario(self, "small volumes", folder=folder))
        finally:
            subprocess.run(["umount", folder], check=True)

    def fill_volume(self, folder, scenario):
        plenty = f"statvfs {folder} 1 free {1 << 40}"
        for size in ("500k", "900k"):
            mount("-o", f"remount,size={size}", str(folder))
            scenario.run(f"a volume of {size}", {"no_space", "io"}, "--commit-tokens", 130, faults=plenty)
        names = 1 + sum(1 for _ in folder.rglob("*"))
        mount("-o", f"remount,size=100m,nr_inodes={names + 4}", str(folder))
        scenario.run("no room for names", "no_space", "--commit-tokens", 130, faults=plenty)
        used = sum(path.stat().st_blocks * 512 for path in folder.rglob("*"))
        mount("-o", f"remount,nr_inodes=0,size={(256 << 20) + used + (300 << 10)}", str(folder))
        scenario.run("less is free than must be", "no_space", "--commit-tokens", 130)
        mount("-o", "remount,size=400m", str(folder))
        scenario.finish()


def mount(*arguments):
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0


def own_mounts():
    """Mounts of this process from now on are its own, where that is allowed."""
    if ctypes.CDLL(None).unshare(0x00020000) == 0:  # CLONE_NEWNS
        mount("--make-rprivate", "/")


def main():
    msa, faults_library, source = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    own_mounts()
    work = pathlib.Path(tempfile.mkdtemp(prefix="msa_ingest_"))
    try:
        test = Test(msa, faults_library, source, work)
        stops = random.Random(SEED).sample(STOPS, len(STOPS))
        parts = [
            lambda: test.stops("stops a", stops[::2]), lambda: test.stops("stops b", stops[1::2]),
            lambda: test.stops("changes", stops[::4], replaces=True), test.small_volumes, test.whole_runs, test.bad_inputs, test.no_banks,
            test.limits,
        ]
        with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
            for part in [pool.submit(part) for part in parts]:
                part.result()
        test.program.close()
    finally:
        shutil.rmtree(work)
    failures = test.checks.failures
    for failure in failures[:20]:
        print(f"FAILED {failure}")
    for what in test.skipped:
        print(f"SKIPPED {what}")
    checks = test.checks
    print(f"seed {SEED}: {len(test.inputs.documents())} documents, {test.program.num_runs} runs, {checks.num_stops} of them ended early "
          f"by faults ({checks.num_added} of them with documents stored), {checks.num_checks} comparisons, {len(failures)} failures")
    sys.exit(bool(failures))


main()
