"""Runs of `msa ingest` that may end early: what the program says of a run, compared with what is in the bank, document by document."""

import collections
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "format"))
import read_bank  # noqa: E402  shares nothing with the program
from ingest_documents import content_of  # noqa: E402

EXIT_CODES = {"internal": 1, "invalid_argument": 2, "not_found": 3, "io": 4, "no_space": 5, "locked": 9, "interrupted": 130}
COUNTS = ("documents", "passages", "chunks", "tokens", "replaced", "skipped", "failed")
TEXT = re.compile(r"(?P<documents>\d+) documents in (?P<passages>\d+) passages, (?P<tokens>\d+) tokens, [\d.]+ s, \d+ tokens/s"
                  r"(; (?P<replaced>\d+) in place of others)?(; (?P<skipped>\d+) there already)?(; (?P<failed>\d+) not taken)?\n")


class Checks:
    """Counts comparisons and remembers those that failed. For several threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.num_checks = self.num_stops = self.num_added = 0
        self.failures = []

    def count_stop(self, num_documents):
        """A run ended early, after so many documents."""
        with self.lock:
            self.num_stops += 1
            self.num_added += num_documents > 0

    def same(self, what, found, wanted):
        with self.lock:
            self.num_checks += 1
        if found != wanted:
            if isinstance(found, collections.Counter) and isinstance(wanted, collections.Counter):
                found, wanted = found - wanted, wanted - found
            self.failures.append(f"{what}:\n  found  {str(found)[:1500]}\n  wanted {str(wanted)[:1500]}")

    def within(self, what, found, least, most):
        """`found` may hold what `most` does, and must hold what `least` does; all are counters."""
        self.same(f"{what}: too many", found - most, collections.Counter())
        self.same(f"{what}: missing", least - found, collections.Counter())


@dataclass
class Stored:
    """A document as it lies in a bank."""
    name: str
    title: str
    text: str
    attributes: str
    source: str
    passages: list

    def content(self):
        return content_of(self)


@dataclass
class State:
    """All documents of a bank, in the order in which they were committed."""
    documents: list = field(default_factory=list)

    def contents(self):
        return {document.name: document.content() for document in self.documents}

    def last_passage(self):
        return max((passage["id"] for document in self.documents for passage in document.passages), default=0)


class SegmentCache:
    """Segments that were read, by name, size and time: a segment is never written again."""

    def __init__(self):
        self.segments = {}
        self.read = read_bank.Segment

    def __call__(self, path, row, shape, facts):
        status = path.stat()
        key = (str(path.resolve()), status.st_ino, status.st_size, status.st_mtime_ns, *row.values())
        if key not in self.segments:
            self.segments[key] = self.read(path, row, shape, facts)
        return self.segments[key]


read_bank.Segment = SegmentCache()


def read_state(folder):
    """What the next program finds there. The bank stays as it is: a copy of its catalog takes up what the log holds."""
    if not (folder / "catalog.db").exists():
        return State()
    with tempfile.TemporaryDirectory(prefix="msa_copy_") as copy:
        copy = pathlib.Path(copy)
        for name in ("catalog.db", "catalog.db-wal"):
            if (folder / name).exists():
                shutil.copy(folder / name, copy / name)
        (copy / "segments").symlink_to(folder / "segments")
        database = read_bank.sqlite3.connect(copy / "catalog.db")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        database.close()
        bank = read_bank.Bank(copy)
    passages = collections.defaultdict(list)
    for row in bank.rows["passages"].values():
        # Not its segment: documents that are replaced make the bank merge others.
        passages[row["document"]].append({name: row[name] for name in ("id", "start", "end", "tokens", "chunks")})
    texts = [(row["name"], row["title"], row["text"], row["attributes"], row["source"], passages[number])
             for number, row in bank.rows["documents"].items()]
    return State([Stored(*text) for text in sorted(texts, key=lambda text: text[-1][0]["id"])])


@dataclass
class Run:
    """How a run ended and what it said."""
    exit_code: int
    is_json: bool
    report: dict  # counts; empty if there are none
    error: str  # its code; empty without --json
    problems: collections.Counter  # (file, line, code) of what was not taken; the code is empty without --json
    messages: list
    err: str


def parse_run(exit_code, out, err, is_json, inputs):
    problems, messages, report, error = collections.Counter(), [], {}, ""
    if is_json:
        for line in err.splitlines():
            if line.startswith("{"):
                problem = json.loads(line)["problem"]
                problems[problem["file"], problem["line"], problem["code"]] += 1
                messages.append(problem["message"])
        report = json.loads(out) if out else {}
        error = report.pop("error", {}).get("code", "")
    else:
        for match in re.finditer(rf"^msa: ({re.escape(str(inputs))}[^:\n]*)(?::(\d+))?: (.*)$", err, re.MULTILINE):
            problems[match[1], int(match[2] or 0), ""] += 1
            messages.append(match[3])
        match = TEXT.fullmatch(out)
        report = {key: int(count or 0) for key, count in match.groupdict().items()} if match else {"text": out} if out else {}
    return Run(exit_code, is_json, report, error, problems, messages, err)


class ForkServer:
    """The program with its libraries loaded, which forks for each run (fork_server.cpp). For one thread."""

    def __init__(self, msa, faults_library):
        self.process = subprocess.Popen([msa], stdin=subprocess.PIPE, stdout=subprocess.PIPE, restore_signals=False,
                                        env={**os.environ, "MSA_FORK_SERVER": "1", "LD_PRELOAD": faults_library})

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def run(self, arguments, stdout="", faults="", max_file_bytes="", while_running=None):
        """(exit code, stdout, stderr). `while_running` is called with the number of the process."""
        with tempfile.TemporaryDirectory(prefix="msa_run_") as folder:
            out, err = stdout or f"{folder}/out", f"{folder}/err"
            texts = [out, err, str(max_file_bytes), faults, *map(str, arguments)]
            request = b"".join(text.encode() + b"\0" for text in texts)
            self.process.stdin.write(struct.pack("<I", len(request)) + request)
            self.process.stdin.flush()
            number = self.read_number()
            if while_running:
                while_running(number)
            exit_code = os.waitstatus_to_exitcode(self.read_number())
            return exit_code, "" if stdout else pathlib.Path(out).read_text(), pathlib.Path(err).read_text()

    def read_number(self):
        return struct.unpack("<i", self.process.stdout.read(4))[0]


class Program:
    """`msa` with a model. May be used by several threads."""

    def __init__(self, msa, faults_library, model):
        self.msa, self.faults_library, self.model = msa, faults_library, model
        self.num_runs = 0
        self.servers = {}  # of threads

    def close(self):
        for server in self.servers.values():
            server.close()

    def run(self, *arguments, **options):
        self.num_runs += 1
        thread = threading.get_ident()
        if thread not in self.servers:
            self.servers[thread] = ForkServer(self.msa, self.faults_library)
        return self.servers[thread].run([self.msa, *arguments], **options)

    def ingest(self, bank, inputs, *flags, is_json=True, **options):
        flags = (*flags, "--json") if is_json else flags
        exit_code, out, err = self.run("ingest", bank, inputs, "--model", self.model, *flags, **options)
        return parse_run(exit_code, out, err, is_json, inputs)

    def json_of(self, *arguments):
        exit_code, out, err = self.run(*arguments, "--json")
        return json.loads(out) if exit_code == 0 else {"exit code": exit_code, "err": err}


def sums_of(documents):
    passages = [passage for document in documents for passage in document.passages]
    return {"documents": len(documents), "passages": len(passages), "chunks": sum(passage["chunks"] for passage in passages),
            "tokens": sum(passage["tokens"] for passage in passages)}


def compare_contents(checks, what, events, new):
    """The documents that a run has added, in their order, against those that were given to it."""
    added = [event.document for event in events if event.kind in ("store", "replace")][:len(new)]
    for given, stored in zip(added, new):
        checks.same(f"{what}: a document", (stored.name, *stored.content(), stored.source), (given.name, *given.content(), given.file))
    checks.same(f"{what}: documents that nobody gave", [stored.name for stored in new[len(added):]], [])


def compare_run(checks, what, run, before, after, events, *, may_end_early, may_have_more=False):
    """A run that began with the bank `before` and left it `after`, of which `events` are all that would have become of the documents.
    `may_have_more`: the disk failed so that nobody could say whether the last batch is stored. Returns how many documents it has added."""
    first_new = before.last_passage() + 1
    new = [document for document in after.documents if document.passages[0]["id"] >= first_new]
    replaced = {document.name for document in new} & before.contents().keys()
    kept = [document for document in before.documents if document.name not in replaced]
    checks.same(f"{what}: documents from before", after.documents[:len(after.documents) - len(new)], kept)
    compare_contents(checks, what, events, new)
    changes = [number for number, event in enumerate(events) if event.kind in ("store", "replace")]
    counts = {**sums_of(new), "replaced": len(replaced)}
    if run.exit_code < 0 or not run.report:  # it was killed, or ended before the bank was open
        checks.same(f"{what}: says nothing", (run.report, may_end_early), ({}, True))
        checks.same(f"{what}: nothing is stored", len(new) if run.exit_code >= 0 else 0, 0)
        return len(new)
    wanted = {key: count for key, count in counts.items() if key in run.report}
    found = {key: run.report[key] for key in wanted}
    if may_have_more:
        checks.same(f"{what}: says no more than is stored", found["documents"] <= wanted["documents"], True)
    else:
        checks.same(f"{what}: counts", found, wanted)
    code_of = (lambda event: event.code) if run.is_json else (lambda event: "")
    all_problems = collections.Counter((*event.place()[:2], code_of(event)) for event in events if event.kind == "fail")
    all_skipped = sum(event.kind == "skip" for event in events)
    checks.same(f"{what}: failed", run.report["failed"], run.problems.total())
    checks.same(f"{what}: messages", [message for message in run.messages if not message.strip()], [])
    if run.is_json:
        by_code = collections.Counter()
        for (_, _, code), count in run.problems.items():
            by_code[code] += count
        checks.same(f"{what}: failed by code", run.report["failed_by_code"], dict(by_code))
    if not may_end_early:
        checks.same(f"{what}: problems", run.problems, all_problems)
        checks.same(f"{what}: skipped", run.report["skipped"], all_skipped)
        checks.same(f"{what}: all is stored", len(new), len(changes))
        total = sum(run.report[key] for key in ("documents", "skipped", "failed"))
        checks.same(f"{what}: all are accounted for", total, len(events))
        return len(new)
    # What stands before the last document that is stored has been reported, and what was no file to read.
    end = changes[len(new) - 1] if new and len(new) <= len(changes) else 0
    past = [event for number, event in enumerate(events) if number < end or event.document.is_early]
    least = collections.Counter((*event.place()[:2], code_of(event)) for event in past if event.kind == "fail" and not event.is_repeat)
    checks.within(f"{what}: problems", run.problems, least, all_problems)
    least_skipped = sum(event.kind == "skip" and not event.is_repeat for event in past)
    checks.same(f"{what}: skipped is in [{least_skipped}, {all_skipped}]", least_skipped <= run.report["skipped"] <= all_skipped, True)
    return len(new)
