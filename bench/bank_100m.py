#!/usr/bin/env python3
"""A real bank of 100 million tokens on one GPU, and the same questions to it on the GPU and on the CPU.

usage: bank_100m.py MSA MODEL_DIR WORK_DIR [DOCUMENTS ...] [--questions-of FILE[:IDS] ...] [--tokens 100000000] ...

DOCUMENTS are files that `msa ingest` takes, and folders, of which all documents.jsonl and documents.jsonl.zst are taken;
invented documents (corpus/make_corpus.py) bring the bank to
--tokens. Asked are the twelve questions of examples/, those of --questions-of (a questions.jsonl, also .zst, and a file
of the ids to take) and questions about the invented documents, by turns; those whose documents are not in the bank are
left out. On the second device as many questions are routed as --route-seconds allow, and as many answered as
--answer-seconds allow: a second round routes with the text that it has read, several hundred tokens against every chunk.

WORK_DIR gets bank/, invented/, questions.jsonl and, for each step, STEP.json, its standard error and records; a step
whose STEP.json is there is not run again. The last line printed is the whole report as JSON.
"""

import argparse
import ctypes
import json
import math
import random
import subprocess
import sys
import time
from pathlib import Path

import compare_answers

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"
TOKENS_OF_INVENTED = 404  # a document's, about


def say(text: str) -> None:
    print(f"{time.strftime('%T')} {text}", flush=True)


def read_lines(path: Path) -> list[dict]:
    data = path.read_bytes()
    if path.suffix == ".zst":
        zstd = ctypes.CDLL("libzstd.so.1")
        zstd.ZSTD_decompress.restype = ctypes.c_size_t
        room = 8 * len(data) + 4096
        got = room + 1
        while got > room and room < 1 << 32:  # an error: too little room, or a damaged file
            room *= 2
            whole = ctypes.create_string_buffer(room)
            got = zstd.ZSTD_decompress(whole, ctypes.c_size_t(room), data, ctypes.c_size_t(len(data)))
        assert got <= room, f"{path} cannot be decompressed"
        data = whole.raw[:got]
    return [json.loads(line) for line in data.decode().splitlines() if line.strip()]


def document_files(paths: list[str]) -> list[str]:
    files = []
    for path in map(Path, paths):
        files += sorted(path.rglob("documents.jsonl*")) if path.is_dir() else [path]
    return [str(file) for file in files]


class Steps:
    def __init__(self, options):
        self.o = options
        self.o.work.mkdir(parents=True, exist_ok=True)
        self.bank = options.work / "bank"
        self.report = {}

    def run(self, name: str, *command: str) -> dict:
        """Runs the program unless it has been run; its JSON, with the wall time as "wall_seconds"."""
        done = self.o.work / f"{name}.json"
        if not done.exists():
            say(f"{name}: {' '.join(command)}")
            start = time.perf_counter()
            with open(self.o.work / f"{name}.err", "w", encoding="utf-8") as err:
                result = subprocess.run([self.o.msa, *command, "--model", self.o.model, "--json"], stdout=subprocess.PIPE,
                                        stderr=err, text=True)
            if result.returncode != 0:
                last = (self.o.work / f"{name}.err").read_text(errors="replace").splitlines()[-3:]
                sys.exit(f"{name} failed with {result.returncode}: " + "\n".join(last))
            line = json.loads(result.stdout.splitlines()[-1])
            line["wall_seconds"] = round(time.perf_counter() - start, 2)
            done.write_text(json.dumps(line))
        self.report[name] = json.loads(done.read_text())
        say(f"{name}: {json.dumps(self.report[name])}")
        return self.report[name]

    def ingest(self, name: str, paths: list[str]) -> int:
        """Tokens in the bank then: an ingest that was interrupted has left some before."""
        self.run(name, "ingest", str(self.bank), *paths, "--device", self.o.device, "--key-type", "int8",
                 "--content-type", self.o.content_type, "--commit-tokens", str(self.o.commit_tokens))
        stat = subprocess.run([self.o.msa, "bank", "stat", str(self.bank), "--json"], check=True, stdout=subprocess.PIPE)
        return json.loads(stat.stdout)["tokens"]

    def make_bank(self) -> None:
        documents = [*document_files(self.o.documents), str(EXAMPLES / "documents.jsonl")]
        tokens = self.ingest("ingest", documents)
        count = self.o.questions  # of invented documents, at least
        while tokens < self.o.tokens:
            count = max(count, self.report.get("invented", {}).get("documents", 0) +
                        math.ceil((self.o.tokens - tokens) / TOKENS_OF_INVENTED))
            self.make_invented(count)
            tokens = self.ingest(f"ingest_invented_{count}", [str(self.o.work / "invented" / "documents")])
            count += 1
        for file in self.o.work.glob("ingest*.json"):  # also of a run before this one
            self.report[file.stem] = json.loads(file.read_text())
        runs = [line for name, line in self.report.items() if name.startswith("ingest")]
        seconds = sum(line["seconds"] for line in runs)
        added = sum(line["tokens"] for line in runs)
        self.report["bank"] = {"tokens": tokens, "seconds": round(seconds, 2), "tokens_per_second": round(added / seconds),
                               "bytes": sum(f.stat().st_size for f in self.bank.rglob("*") if f.is_file())}
        say(f"bank: {json.dumps(self.report['bank'])}")

    def make_invented(self, count: int) -> None:
        folder = self.o.work / "invented"
        start = time.perf_counter()
        subprocess.run([sys.executable, str(HERE / "corpus" / "make_corpus.py"), str(folder), "--documents", str(count),
                        "--questions", str(min(count, self.o.questions))], check=True)
        self.report["invented"] = {"documents": count, "seconds": round(time.perf_counter() - start, 2),
                                   "bytes": sum(f.stat().st_size for f in (folder / "documents").iterdir())}
        say(f"invented: {json.dumps(self.report['invented'])}")

    def write_questions(self) -> Path:
        path = self.o.work / "questions.jsonl"
        invented = self.o.work / "invented" / "questions.jsonl"
        kinds = [[], read_lines(invented) if invented.exists() else []]
        for source in self.o.questions_of:
            file, _, ids = source.partition(":")
            questions = read_lines(Path(file))
            if ids:
                wanted = set(Path(ids).read_text().split())
                questions = [q for q in questions if q["id"] in wanted]
            kinds[0] += questions
        rng = random.Random(1)
        for questions in kinds:
            rng.shuffle(questions)
        asked = {q["id"]: q for q in read_lines(EXAMPLES / "questions.jsonl")}
        while len(asked) < self.o.questions and any(kinds):
            for questions in kinds:
                if questions and len(asked) < self.o.questions:
                    question = questions.pop()
                    asked.setdefault(question["id"], question)
        path.write_text("".join(json.dumps(q, ensure_ascii=False) + "\n" for q in asked.values()), encoding="utf-8")
        return path

    def ask(self, name: str, questions: Path, device: str, *flags: str) -> Path:
        records = self.o.work / f"{name}.records.jsonl"
        self.run(name, "eval", "bank", str(self.bank), str(questions), "--device", device, "--output", str(records), *flags)
        return records

    def compare(self, name: str, first: Path, second: Path) -> None:
        result = compare_answers.compare(compare_answers.read(first), compare_answers.read(second))
        self.report[name] = result
        print(f"{name}: first {self.o.device}, second {self.o.second_device}")
        print(compare_answers.to_text(result, 1000))

    def all(self) -> None:
        self.make_bank()
        questions = self.write_questions()
        first = self.ask("answers", questions, self.o.device, "--max-seconds", str(self.o.first_seconds))
        routed = self.ask("second_routes", questions, self.o.second_device, "--routing-only", "--max-seconds",
                          str(self.o.route_seconds))
        answered = self.ask("second_answers", questions, self.o.second_device, "--max-seconds", str(self.o.answer_seconds))
        self.compare("routes_compared", first, routed)
        self.compare("answers_compared", first, answered)
        (self.o.work / "report.json").write_text(json.dumps(self.report, indent=1))
        print(json.dumps(self.report))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("msa")
    parser.add_argument("model")
    parser.add_argument("work", type=Path)
    parser.add_argument("documents", nargs="*")
    parser.add_argument("--questions-of", action="append", default=[])
    parser.add_argument("--tokens", type=int, default=100_000_000)
    parser.add_argument("--questions", type=int, default=1_000)
    parser.add_argument("--device", default="gpu")
    parser.add_argument("--second-device", default="cpu")
    parser.add_argument("--content-type", default="bf16")
    parser.add_argument("--commit-tokens", type=int, default=500_000)
    parser.add_argument("--first-seconds", type=float, default=300, help="for answers of the first device")
    parser.add_argument("--route-seconds", type=float, default=150, help="on the second device")
    parser.add_argument("--answer-seconds", type=float, default=90, help="on the second device")
    Steps(parser.parse_args()).all()


if __name__ == "__main__":
    main()
