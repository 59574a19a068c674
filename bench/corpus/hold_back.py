#!/usr/bin/env python3
"""Chooses the questions that a training run never sees and is judged by.

    hold_back.py SETS OUTPUT [--questions 1000]

SETS holds train/squad, train/qed and made/rule_questions in the schema of docs/training.md. OUTPUT gets qed.txt (questions
of the file models/msa-tiny/qed_heldback.txt), squad.txt (questions of whole articles), made.txt (one question each of as
many introductions) and held_back.txt, which names all of these and every other question of those articles. With a
question that is held back go its documents and whatever else is asked of them.
The choice follows the digests of ids, so that it is the same anywhere.
"""

import argparse
import hashlib
import json
import pathlib
import subprocess

QED = pathlib.Path(__file__).resolve().parents[2] / "models" / "msa-tiny" / "qed_heldback.txt"

QUESTIONS_HELD = 4  # for each that is asked, so that these come from many articles


def digest(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


def lines(path: pathlib.Path):
    """The objects of PATH.jsonl, or of PATH.jsonl.zst."""
    plain = path.with_name(path.name + ".jsonl")
    if plain.exists():
        with open(plain, encoding="utf-8") as file:
            yield from map(json.loads, file)
        return
    with subprocess.Popen(["zstd", "-dcq", f"{plain}.zst"], stdout=subprocess.PIPE, encoding="utf-8") as process:
        yield from map(json.loads, process.stdout)
    if process.returncode != 0:
        raise SystemExit(f"{plain}.zst: zstd cannot read it")


def article(document: str) -> str:
    """Documents of an article are called ARTICLE-0, ARTICLE-1 ..."""
    return document.rsplit("-", 1)[0]


def of_articles(questions, count: int) -> list[str]:
    """All questions of the articles of the smallest digests, until there are `count`; those to ask come first."""
    by_article: dict[str, list[str]] = {}
    for question in questions:
        by_article.setdefault(article(question["documents"][0]), []).append(question["id"])
    held: list[str] = []
    for name in sorted(by_article, key=digest):
        if len(held) >= count:
            break
        held += by_article[name]
    return sorted(held, key=digest)


def one_each(questions, source: str, count: int) -> list[str]:
    """A question each of `count` documents of the source, both of the smallest digests."""
    of_document: dict[str, str] = {}
    for question in questions:
        if question["source"] != source or len(question["documents"]) != 1:
            continue
        document, name = question["documents"][0], question["id"]
        if document not in of_document or digest(name) < digest(of_document[document]):
            of_document[document] = name
    return [of_document[document] for document in sorted(of_document, key=digest)[:count]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--questions", type=int, default=1000, help="of each kind that is asked")
    arguments = parser.parse_args()

    known = {question["id"] for question in lines(arguments.sets / "train/qed/questions")}
    qed = [name for name in QED.read_text().split() if name in known]
    squad = of_articles(lines(arguments.sets / "train/squad/questions"), QUESTIONS_HELD * arguments.questions)
    made = one_each(lines(arguments.sets / "made/rule_questions/questions"), "rule-made/wiki_intros", arguments.questions)

    arguments.output.mkdir(parents=True, exist_ok=True)
    asked = {"qed": qed[: arguments.questions], "squad": squad[: arguments.questions], "made": made}
    for name, questions in {**asked, "held_back": qed + squad + made}.items():
        (arguments.output / f"{name}.txt").write_text("".join(f"{question}\n" for question in questions))
        print(f"{name}.txt: {len(questions)} questions")


if __name__ == "__main__":
    main()
