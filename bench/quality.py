#!/usr/bin/env python3
"""How good a model is on questions that its training never saw, BM25 beside it, as a table.

    quality.py MODEL SETS HELD OUTPUT [--msa build/release/msa] [--device gpu] [--most 50] [--extra 100]

SETS holds corpus/, train/, made/ and dev/ in the schema of docs/training.md; HELD is what corpus/hold_back.py wrote. Each
line is one run of `msa eval`, whose report stays in OUTPUT: a run that was stopped goes on where it was.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import subprocess
import sys

from corpus.hold_back import lines

INTROS = "corpus/wiki_intros/documents"


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    title: str
    questions: str  # of train/ or dev/, or "made", or "chains"
    held: str  # file of ids in HELD; "" asks all of the set
    extra: str  # documents beside those of the questions
    num_extra: int  # 0: all of them


ROWS = [
    Row("qed-10k", "QED, 10,000 documents", "train/qed", "qed.txt", INTROS, 9_050),
    Row("qed-all", "QED, all introductions", "train/qed", "qed.txt", INTROS, 0),
    Row("squad-10k", "SQuAD, 10,000 paragraphs of its articles", "train/squad", "squad.txt", "train/squad/documents", 9_200),
    Row("made-10k", "made by rules, 10,000 documents", "made", "made.txt", INTROS, 9_000),
    Row("made-all", "made by rules, all introductions", "made", "made.txt", INTROS, 0),
    Row("chains-10k", "over two documents, made by rules, 10,000 documents", "chains", "", INTROS, 9_567),
    Row("fairytale-10k", "FairytaleQA, 10,000 documents", "dev/fairytale_val", "", INTROS, 9_620),
]


def stored(sets: pathlib.Path, name: str) -> pathlib.Path:
    """NAME.jsonl or NAME.jsonl.zst, whichever is there."""
    for end in (".jsonl", ".jsonl.zst"):
        if (sets / (name + end)).exists():
            return sets / (name + end)
    raise SystemExit(f"{sets / name}.jsonl is not there, nor .zst")


def made_set(arguments) -> pathlib.Path:
    """The questions made by rules that are held back, over the introductions."""
    folder = arguments.output / "made"
    folder.mkdir(exist_ok=True)
    documents = stored(arguments.sets, INTROS)
    link = folder / f"documents{''.join(documents.suffixes)}"
    if not link.exists():
        link.symlink_to(documents.resolve())
    questions = folder / "questions.jsonl"
    if not questions.exists():
        wanted = set((arguments.held / "made.txt").read_text().split())
        found = [q for q in lines(arguments.sets / "made/rule_questions/questions") if q["id"] in wanted]
        questions.write_text("".join(json.dumps(q, ensure_ascii=False) + "\n" for q in found), encoding="utf-8")
    return folder


def chains_set(arguments) -> pathlib.Path:
    """Questions over two introductions, none of which training asks (msa questions --kind chain)."""
    folder = arguments.output / "chains"
    if not folder.exists():
        subprocess.run([str(arguments.msa), "questions", str(stored(arguments.sets, INTROS)), str(folder), "--kind", "chain"],
                       env={**os.environ, "MSA_MODEL": str(arguments.model)}, stdout=sys.stderr, check=True)
    return folder


def run(arguments, name: str, command: list[str]) -> dict:
    """The report of an `msa eval`, from a run before where there was one."""
    report = arguments.output / f"{name}.json"
    if not report.exists():
        print(f"{name} ...", file=sys.stderr)
        environment = {**os.environ, "MSA_MODEL": str(arguments.model)}
        done = subprocess.run([str(arguments.msa), "eval", *command, "--device", arguments.device, "--json"],
                              env=environment, stdout=subprocess.PIPE, check=True)
        partial = report.with_suffix(".part")
        partial.write_bytes(done.stdout)
        partial.rename(report)
    return json.loads(report.read_text())


def of_row(arguments, row: Row) -> str:
    makers = {"made": made_set, "chains": chains_set}
    folder = makers[row.questions](arguments) if row.questions in makers else arguments.sets / row.questions
    command = ["qa", str(folder), "--extra", str(stored(arguments.sets, row.extra))]
    num_extra = arguments.extra or row.num_extra
    if num_extra > 0:
        command += ["--num-extra", str(num_extra)]
    if row.held:
        ids = (arguments.held / row.held).read_text().split()[: arguments.most]
        asked = arguments.output / f"{row.name}.txt"
        asked.write_text("".join(f"{name}\n" for name in ids))
        command += ["--questions", str(asked)]
    elif arguments.most:
        command += ["--questions", str(arguments.most)]
    report = run(arguments, row.name, command)

    def pair(values: dict, *names: str) -> str:
        return " / ".join(f"{values[name]:.3f}" for name in names)

    return (f"| {row.title} ({report['questions']} questions, {report['documents']:,} documents) "
            f"| {pair(report['routing'], 'at_1', 'at_16')} | {pair(report['bm25'], 'at_1', 'at_16')} "
            f"| {report['named_first']:.3f} | {pair(report['gold_text'], 'exact_match', 'f1')} "
            f"| {pair(report['end_to_end'], 'exact_match', 'f1')} |")


def perplexity(arguments) -> str:
    """Of the introductions that are held back."""
    questions = json.loads("[" + ",".join((made_set(arguments) / "questions.jsonl").read_text().splitlines()) + "]")
    wanted = {question["documents"][0] for question in questions}
    texts = arguments.output / "held_back_introductions.jsonl"
    if not texts.exists():
        held = [json.dumps(d, ensure_ascii=False) for d in lines(arguments.sets / INTROS) if d["id"] in wanted]
        texts.write_text("\n".join(held) + "\n", encoding="utf-8")
    report = run(arguments, "text", ["text", str(texts), "--documents", str(arguments.most or 0)])
    return (f"\nLanguage, {report['documents']:,} held-back introductions: {report['nats_per_token']:.3f} nats a token, "
            f"perplexity {report['perplexity']:.2f}, {report['bits_per_byte']:.3f} bits a byte.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "sets", "held", "output"):
        parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("--msa", type=pathlib.Path, default="build/release/msa")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "gpu"])
    parser.add_argument("--most", type=int, help="questions of a line, and documents of the perplexity")
    parser.add_argument("--extra", type=int, help="documents beside those of the questions, for a quick look")
    parser.add_argument("--only", type=lambda text: text.split(","), help="names of lines")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    print("| questions | routing @1 / @16 | BM25 @1 / @16 | named first | reading the gold text, exact / F1 | end to end |")
    print("|---|---|---|---|---|---|")
    for row in ROWS:
        if not arguments.only or row.name in arguments.only:
            print(of_row(arguments, row), flush=True)
    if not arguments.only or "text" in arguments.only:
        print(perplexity(arguments))


if __name__ == "__main__":
    main()
