#!/usr/bin/env python3
"""Writes invented documents, encyclopaedia-like, and questions about facts that stand in one of them alone.

    make_corpus.py FOLDER --documents 60000 --questions 500

FOLDER/documents/000.jsonl ... (id, title, text, lang, source) and FOLDER/questions.jsonl (id, question, answers,
documents, source). Document n is a function of the seed and n: the same bytes with any number of processes, and the
first documents of a larger corpus. A document has 100 to 1,000 tokens of a vocabulary of 8,192 tokens.
"""

import argparse
import json
import multiprocessing
import pathlib
import random

import invented_names
from drawn_words import GIVEN, MONTHS, NATIONS, PROFESSIONS, REGIONS, SURNAMES, THINGS, TRADES
from kinds import FILLERS, KINDS

DOCUMENTS_IN_FILE = 2_000
# Then a name comes again with another kind, and three times at most: no title does.
MOST_DOCUMENTS = 3 * invented_names.NUM_NAMES


class Draw(dict):
    """Fills slots: what is the document's own is set, anything else is drawn anew each time."""

    def __init__(self, rng, own):
        super().__init__(own)
        self.choice = rng.choice
        self.number = rng.randrange

    def __missing__(self, slot):
        choice, number = self.choice, self.number
        if slot == "year":
            return str(number(1701, 1900))
        if slot == "year2":
            return str(number(1900, 2020))
        if slot == "count":
            return f"{number(1_001, 99_999):,}"
        if slot == "small":
            return str(number(3, 90))
        if slot == "share":
            return str(number(2, 60))
        if slot == "day":
            return str(number(1, 29))
        if slot == "person":
            return f"{choice(GIVEN)} {choice(SURNAMES)}"
        return choice(LISTS[slot])


LISTS = {"month": MONTHS, "region": REGIONS, "nation": NATIONS, "trade": TRADES, "thing": THINGS,
         "profession": PROFESSIONS}


def document(seed, n):
    """Title, text and [(question, answer)] of document n."""
    rng = random.Random(seed * 1_000_003 + n)
    kind = KINDS[n % len(KINDS)]
    own = {"name": invented_names.name(n % invented_names.NUM_NAMES), "hamlet": invented_names.hamlet(2 * n),
           "hamlet2": invented_names.hamlet(2 * n + 1), "code": invented_names.code(n)}
    subject = Draw(rng, own)
    if kind.title.startswith("{person}"):
        subject["person"] = rng.choice(GIVEN)
    facts = []
    asked = []
    for fact in kind.facts:
        said = Draw(rng, subject)
        # What an answer repeats is drawn once.
        for slot in ("year", "year2", "person"):
            said.setdefault(slot, said[slot])
        facts.append(rng.choice(fact.sentences).format_map(said))
        asked.append((fact.question.format_map(said), fact.answer.format_map(said)))
    # Few documents are long, as in an encyclopaedia.
    fillers = rng.sample(FILLERS, int(2 + 31 * rng.random() ** 2))
    other = Draw(rng, {})
    paragraphs = [[rng.choice(kind.opening).format_map(subject), facts[0]], []]
    for filler in fillers:
        if len(paragraphs[-1]) >= 4 and rng.random() < 0.4:
            paragraphs.append([])
        paragraphs[-1].append(filler.format_map(other))
    for fact in facts[1:]:
        rng.choice(paragraphs).append(fact)
    text = "\n".join(" ".join(sentences) for sentences in paragraphs)
    return kind.title.format_map(subject), text, asked


def identifier(n):
    return f"invented-{n:07d}"


def line(**fields):
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")) + "\n"


def write_file(task):
    """One file of documents. Returns its bytes."""
    path, seed, first, end = task
    lines = []
    for n in range(first, end):
        title, text, _ = document(seed, n)
        lines.append(line(id=identifier(n), title=title, text=text, lang="en", source="invented"))
    whole = "".join(lines).encode()
    path.write_bytes(whole)
    return len(whole)


def questions(seed, num_documents, num_questions):
    """Each of another document; every second one is typed carelessly."""
    rng = random.Random(seed)
    for i, n in enumerate(sorted(rng.sample(range(num_documents), num_questions))):
        _, _, asked = document(seed, n)
        question, answer = rng.choice(asked)
        question = question.lower() if i % 2 else question[0].upper() + question[1:] + "?"
        yield line(id=f"invented-q{i:06d}", question=question, answers=[answer], documents=[identifier(n)],
                   source="invented")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--documents", type=int, default=60_000)
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    args = parser.parse_args()
    if not 0 < args.questions <= args.documents <= MOST_DOCUMENTS:
        parser.error(f"0 < questions <= documents <= {MOST_DOCUMENTS} is needed")
    folder = args.folder / "documents"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.jsonl"):
        old.unlink()
    tasks = [(folder / f"{i:03d}.jsonl", args.seed, first, min(first + DOCUMENTS_IN_FILE, args.documents))
             for i, first in enumerate(range(0, args.documents, DOCUMENTS_IN_FILE))]
    with multiprocessing.Pool(args.processes) as pool:
        num_bytes = sum(pool.imap_unordered(write_file, tasks))
    with open(args.folder / "questions.jsonl", "w", encoding="utf-8") as out:
        out.writelines(questions(args.seed, args.documents, args.questions))
    print(f"{args.documents} documents, {num_bytes / 1e6:.1f} MB, {args.questions} questions")


if __name__ == "__main__":
    main()
