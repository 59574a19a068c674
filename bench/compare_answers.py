#!/usr/bin/env python3
"""Compares two outputs of `msa eval bank --output`, question by question.

usage: compare_answers.py FIRST.jsonl SECOND.jsonl [--json] [--differences N]

Questions of both files count, matched by id. Where answers differ, both are shown.
"""

import argparse
import json
import re
import statistics
import string
from pathlib import Path


def read(path: Path) -> dict[str, dict]:
    with open(path, encoding="utf-8") as file:
        return {record["id"]: record for record in map(json.loads, file)}


def chosen(record: dict) -> set[int]:
    return {id for layer in record["layers"] for id in layer["ids"]}


def times(records: list[dict]) -> dict[str, float]:
    """Milliseconds a question."""
    total = sorted(record["timing_ms"]["total"] for record in records)
    return {"median_ms": round(statistics.median(total), 2),
            "p95_ms": round(total[min(len(total) - 1, int(0.95 * len(total)))], 2),
            **{f"median_{part}_ms": round(statistics.median(r["timing_ms"][part] for r in records), 2)
               for part in ("prefill", "route", "write")}}


def normalized(answer: str) -> str:
    """As SQuAD compares answers."""
    kept = "".join(c for c in answer.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


def shares(records: list[dict]) -> dict[str, float]:
    """Of questions whose gold document is routed to, by its name, and that are answered exactly."""
    def hits(depth: int) -> float:
        return round(statistics.mean(any(p["name"] in r["documents"] for p in r["routed"][:depth]) for r in records), 4)

    result = {"at_1": hits(1), "at_16": hits(16)}
    answered = [r for r in records if "answer" in r]
    if answered:
        result["exact_match"] = round(statistics.mean(
            normalized(r["answer"]) in map(normalized, r["answers"]) for r in answered), 4)
    return result


def compare(first: dict[str, dict], second: dict[str, dict]) -> dict:
    """Counts of questions; `layers` counts each layer's choice of each question."""
    both = [(first[id], second[id]) for id in first if id in second]
    result = {"questions": len(both), "same_first": 0, "same_routed": 0, "same_layer_choices": 0, "layer_choices": 0,
              "same_chosen": 0, "answers": 0, "same_named": 0, "same_answer": 0, "differences": []}
    for a, b in both:
        result["same_first"] += [r["id"] for r in a["routed"][:1]] == [r["id"] for r in b["routed"][:1]]
        result["same_routed"] += {r["id"] for r in a["routed"]} == {r["id"] for r in b["routed"]}
        result["layer_choices"] += len(a["layers"])
        result["same_layer_choices"] += sum(set(x["ids"]) == set(y["ids"]) for x, y in zip(a["layers"], b["layers"]))
        result["same_chosen"] += chosen(a) == chosen(b)
        if "answer" not in a or "answer" not in b:
            continue
        result["answers"] += 1
        result["same_named"] += a["named"] == b["named"]
        result["same_answer"] += a["answer"] == b["answer"]
        if a["answer"] != b["answer"]:
            result["differences"].append({"id": a["id"], "question": a["question"], "wanted": a["answers"],
                                          "first": a["answer"], "second": b["answer"],
                                          "same_named": a["named"] == b["named"],
                                          "same_chosen": chosen(a) == chosen(b)})
    if both:
        for name, records in (("first", [a for a, _ in both]), ("second", [b for _, b in both])):
            result[f"{name}_times"] = times(records)
            result[f"{name}_shares"] = shares(records)
    return result


def to_text(result: dict, num_differences: int) -> str:
    of = result["questions"]
    lines = [f"{of} questions asked by both",
             f"same first document                 {result['same_first']} of {of}",
             f"same set of 16 by mean score        {result['same_routed']} of {of}",
             f"same set of a layer                 {result['same_layer_choices']} of {result['layer_choices']}",
             f"same set of all layers together     {result['same_chosen']} of {of}"]
    if result["answers"]:
        lines += [f"same documents named                {result['same_named']} of {result['answers']}",
                  f"same answer text                    {result['same_answer']} of {result['answers']}"]
    for name in ("first", "second"):
        if of:
            lines.append(f"{name}: " + ", ".join(f"{key} {value}" for key, value in result[f"{name}_shares"].items()))
            lines.append(f"{name}: " + ", ".join(f"{key[:-3]} {value} ms" for key, value in result[f"{name}_times"].items()))
    for d in result["differences"][:num_differences]:
        named = "same documents named" if d["same_named"] else "other documents named"
        lines += [f"{d['id']}: {d['question']} ({named})", f"    first:  {d['first']}", f"    second: {d['second']}",
                  f"    wanted: {d['wanted'][0] if d['wanted'] else ''}"]
    left = len(result["differences"]) - num_differences
    if left > 0:
        lines.append(f"{left} more differences")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--differences", type=int, default=20)
    o = parser.parse_args()
    result = compare(read(o.first), read(o.second))
    print(json.dumps(result) if o.json else to_text(result, o.differences))


if __name__ == "__main__":
    main()
