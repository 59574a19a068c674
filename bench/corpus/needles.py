#!/usr/bin/env python3
"""Hides one sentence in each of some documents, and asks for it: a set for `msa eval qa`.

    needles.py DOCUMENTS.jsonl[.zst] OUT [--ids FILE] [--count 500] [--seed 1]

The sentence is "The secret number of Astoria Velm is 48213.", with an invented name and five digits, between two sentences of the
document or at one of its ends; the question is "What is the secret number of Astoria Velm?". --ids names the documents that may be
taken, one a line: those that training never saw.
"""

import argparse
import json
import pathlib
import random
import re

from hold_back import lines

PARTS = ("ba", "ke", "lo", "mi", "ru", "sta", "von", "qui", "ze", "tha", "dor", "pli", "na", "ver", "so", "gan", "el", "ti", "mar", "ush")


def name(rng: random.Random) -> str:
    return " ".join("".join(rng.choice(PARTS) for _ in range(rng.randint(2, 3))).capitalize() for _ in range(2))


def hidden(text: str, sentence: str, rng: random.Random) -> str:
    """`sentence` behind one of the text's sentences, or in front of it."""
    places = [0] + [match.end() for match in re.finditer(r"[a-z0-9)]\. (?=[A-Z])", text)] + [len(text)]
    place = rng.choice(places)
    front, back = text[:place].rstrip(" "), text[place:]
    return " ".join(part for part in (front, sentence, back) if part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--ids", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    allowed = set(options.ids.read_text().split()) if options.ids else None
    path = str(options.documents).removesuffix(".zst").removesuffix(".jsonl")
    found = [document for document in lines(pathlib.Path(path)) if allowed is None or document["id"] in allowed]
    rng = random.Random(options.seed)
    if len(found) < options.count:
        raise SystemExit(f"{options.documents}: {len(found)} documents to hide a needle in, wanted are {options.count}")
    taken = rng.sample(found, options.count)
    names: set[str] = set()
    while len(names) < len(taken):
        names.add(name(rng))
    options.out.mkdir(parents=True, exist_ok=True)
    with open(options.out / "documents.jsonl", "w", encoding="utf-8") as documents, \
            open(options.out / "questions.jsonl", "w", encoding="utf-8") as questions:
        for document, secret in zip(taken, sorted(names)):
            number = str(rng.randint(10_000, 99_999))
            text = hidden(document["text"], f"The secret number of {secret} is {number}.", rng)
            documents.write(json.dumps({"id": document["id"], "title": document.get("title", ""), "text": text}, ensure_ascii=False) + "\n")
            questions.write(json.dumps({"id": f"needle-{document['id']}", "question": f"What is the secret number of {secret}?",
                                        "answers": [number], "documents": [document["id"]]}, ensure_ascii=False) + "\n")
    print(f"{len(taken)} needles in {options.out}")


if __name__ == "__main__":
    main()
