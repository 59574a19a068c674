#!/usr/bin/env python3
"""What is promised of invented documents: the same bytes, names of their own, answers in one document."""

import json
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import hold_back
import invented_names
import make_corpus
from kinds import FILLERS, KINDS

HERE = Path(__file__).resolve().parent


def make(folder: Path, *flags: str) -> list[bytes]:
    """The lines of all documents."""
    subprocess.run([sys.executable, str(HERE / "make_corpus.py"), str(folder), *flags], check=True, capture_output=True)
    return [line for file in sorted((folder / "documents").iterdir()) for line in file.read_bytes().splitlines()]


class Names(unittest.TestCase):
    def test_no_two_are_equal(self):
        for make_name, count in ((invented_names.name, invented_names.NUM_NAMES), (invented_names.hamlet, 300_000),
                                 (invented_names.code, 300_000)):
            self.assertEqual(len({make_name(n) for n in range(count)}), count)

    def test_no_hamlet_is_a_name(self):
        names = {invented_names.name(n) for n in range(invented_names.NUM_NAMES)}
        self.assertFalse(names & {invented_names.hamlet(n) for n in range(100_000)})


class Corpus(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def test_is_the_same_with_any_number_of_processes_and_a_part_of_a_larger_one(self):
        small = make(self.folder / "a", "--documents", "2500", "--questions", "10", "--processes", "1")
        large = make(self.folder / "b", "--documents", "4500", "--questions", "10", "--processes", "3")
        self.assertEqual(len(large), 4500)
        self.assertEqual(small, large[:2500])
        self.assertEqual(make(self.folder / "b", "--documents", "2500", "--questions", "10"), small)
        self.assertNotEqual(make(self.folder / "c", "--documents", "10", "--questions", "1", "--seed", "2")[0], small[0])

    def test_every_question_is_answered_by_its_document_and_places_and_codes_by_it_alone(self):
        documents = [json.loads(line) for line in make(self.folder, "--documents", "3000", "--questions", "600")]
        by_id = {d["id"]: d for d in documents}
        everything = "\n".join(d["text"] for d in documents)
        self.assertEqual(len(by_id), 3000)
        self.assertEqual(len({d["title"] for d in documents}), 3000)
        questions = [json.loads(line) for line in open(self.folder / "questions.jsonl", encoding="utf-8")]
        self.assertEqual(len({q["id"] for q in questions}), 600)
        alone = 0
        for question in questions:
            gold = by_id[question["documents"][0]]
            answer = question["answers"][0]
            self.assertIn(answer, gold["text"])
            self.assertNotIn("{", question["question"] + gold["title"] + gold["text"])
            if re.fullmatch(r"[A-Z]{2}-\d{4}-[A-Z]", answer) or answer.split(" ", 1)[-1] in invented_names.HAMLET_ENDINGS:
                self.assertEqual(everything.count(answer), gold["text"].count(answer), answer)
                alone += 1
        self.assertGreater(alone, 300)

    def test_lengths_differ_and_kinds_and_questions_are_many(self):
        lengths = sorted(len(make_corpus.document(1, n)[1].split()) for n in range(3000))
        self.assertLess(lengths[0], 80)
        self.assertGreater(lengths[-1], 400)
        self.assertGreaterEqual(sum(len(kind.facts) for kind in KINDS), 36)
        self.assertEqual(len(set(FILLERS)), len(FILLERS))


class HeldBack(unittest.TestCase):
    def questions(self):
        return [{"id": f"q{n}", "documents": [f"Article_{n % 7}-{n}"], "source": "a" if n % 2 else "b"} for n in range(70)]

    def test_whole_articles_in_any_order_of_the_questions(self):
        held = hold_back.of_articles(self.questions(), 15)
        self.assertEqual(len(held), 20)
        self.assertEqual(len({int(name[1:]) % 7 for name in held}), 2)
        self.assertEqual(hold_back.of_articles(reversed(self.questions()), 15), held)

    def test_one_question_a_document_of_the_source(self):
        twice = [dict(question, documents=[f"d{n // 10}"]) for n, question in enumerate(self.questions())]
        held = hold_back.one_each(twice, "a", 5)
        self.assertEqual(len({int(name[1:]) // 10 for name in held}), 5)
        self.assertTrue(all(int(name[1:]) % 2 for name in held))
        self.assertEqual(hold_back.one_each(reversed(twice), "a", 5), held)


if __name__ == "__main__":
    unittest.main()
