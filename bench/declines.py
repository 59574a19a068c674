#!/usr/bin/env python3
"""What `msa eval qa --decline-from P` costs and saves at each P, from two runs that never declined.

    msa eval qa SET --extra DOCUMENTS ... --decline-from 1 --output known.jsonl
    msa eval qa SET --extra DOCUMENTS ... --decline-from 1 --without-gold --output unknown.jsonl
    declines.py known.jsonl unknown.jsonl

A line says how often the model declines what nothing in memory answers, how often what something does, and how many answers are
exact, end to end and of the right text.
"""

import argparse
import json
import re
import string

THRESHOLDS = [0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1]


def lines(path: str) -> list[dict]:
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def normal(text: str) -> str:
    """As SQuAD compares answers."""
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def is_exact(answer: str, references: list[str]) -> bool:
    return any(normal(answer) == normal(reference) for reference in references)


def share(values: list[bool]) -> float:
    return sum(values) / max(1, len(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("known")
    parser.add_argument("unknown")
    arguments = parser.parse_args()
    known, unknown = lines(arguments.known), lines(arguments.unknown)
    for path, found, key in ((arguments.known, known, "answer_with_gold_text"), (arguments.unknown, unknown, "declined")):
        if not all(key in line for line in found):
            raise SystemExit(f"{path}: a line has no \"{key}\"")

    def says(line: dict, threshold: float, key: str = "decline_probability") -> bool:
        return line.get(key, -1.0) >= max(threshold, 1e-12)

    if any(line["declined"] for line in known + unknown):
        raise SystemExit("a line has declined: run msa eval qa with --decline-from 1")
    print("| P | declines what nothing answers | declines what something does | exact, end to end | exact, right text |\n|---|---|---|---|---|")
    for threshold in THRESHOLDS:
        end_to_end = [not says(line, threshold) and is_exact(line["answer"], line["answers"]) for line in known]
        reading = [not says(line, threshold, "decline_probability_with_gold_text") and is_exact(line["answer_with_gold_text"], line["answers"])
                   for line in known]
        print(f"| {threshold} | {share([says(line, threshold) for line in unknown]):.3f} | {share([says(line, threshold) for line in known]):.3f} "
              f"| {share(end_to_end):.3f} | {share(reading):.3f} |")


if __name__ == "__main__":
    main()
