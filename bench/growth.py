#!/usr/bin/env python3
"""How routing grows with the memory: `msa bench route` for 1 to 100 million tokens, as a table and a plot.

usage: growth.py MSA OUT.svg [--device gpu] [--types bf16,int8] [--tokens 1,3,10,30,100] [--layers 18] [--dim 1024] ...

OUT.svg is a plot with logarithmic axes: for every type of keys the time of one question, and dashed the time of reading
the keys and nothing else where the device tells it. OUT.json beside it has every line that the program printed; with
--from OUT.json nothing is measured. --answer SHAPE.json adds whole answers in two rounds of a model of that shape
(`msa bench answer`, int8 keys), --decode SHAPE.json how long 100 decoded tokens take.
"""

import argparse
import html
import json
import math
import subprocess
import sys
from pathlib import Path

CHUNK_TOKENS = 64
COLOURS = ["#2166ac", "#b2182b", "#1b7837", "#762a83"]
WIDTH, HEIGHT = 820, 500
LEFT, RIGHT, TOP, BOTTOM = 76, 200, 62, 62


def bench(o, *flags: str) -> dict:
    command = [o.msa, "bench", *flags, "--device", o.device, "--json"]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(result.stdout.splitlines()[-1])


def measure(o) -> dict:
    lines = []
    for kind in o.types.split(","):
        for millions in map(float, o.tokens.split(",")):
            chunks = round(millions * 1e6 / CHUNK_TOKENS)
            line = bench(o, "route", "--type", kind, "--chunks", str(chunks), "--layers", str(o.layers), "--dim", str(o.dim),
                         "--tokens", str(o.question_tokens), "--repeats", str(o.repeats))
            lines.append({**line, "memory_tokens": chunks * CHUNK_TOKENS})
            print(json.dumps(lines[-1]), file=sys.stderr, flush=True)
    data = {"device": o.device, "routes": lines}
    for millions in map(float, o.answer_tokens.split(",")) if o.answer else ():
        chunks = round(millions * 1e6 / CHUNK_TOKENS)
        line = bench(o, "answer", "--shape", o.answer, "--chunks", str(chunks), "--repeats", "5")
        data.setdefault("answers", []).append({**line, "memory_tokens": chunks * CHUNK_TOKENS})
        print(json.dumps(data["answers"][-1]), file=sys.stderr, flush=True)
    if o.decode:
        data["decode"] = bench(o, "decode", "--shape", o.decode, "--length", "64")
    return data


class Plot:
    def __init__(self, x_range: tuple[float, float], y_range: tuple[float, float]):
        self.x_range, self.y_range = x_range, y_range
        self.parts = []

    def x(self, value: float) -> float:
        low, high = map(math.log10, self.x_range)
        return LEFT + (math.log10(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = map(math.log10, self.y_range)
        return HEIGHT - BOTTOM - (math.log10(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def text(self, x: float, y: float, text: str, anchor: str = "start", more: str = "") -> None:
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{html.escape(text)}</text>')

    def line(self, points: list[tuple[float, float]], colour: str, dash: str = "", width: float = 2) -> None:
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"'
                          f'{f" stroke-dasharray={chr(34)}{dash}{chr(34)}" if dash else ""}/>')

    def axes(self, title: str, subtitle: str, x_label: str, y_label: str) -> None:
        for power in range(math.floor(math.log10(self.x_range[0])), math.ceil(math.log10(self.x_range[1])) + 1):
            for digit in range(1, 10):
                value = digit * 10.0**power
                if self.x_range[0] * 0.999 <= value <= self.x_range[1] * 1.001:
                    self.line([(value, self.y_range[0]), (value, self.y_range[1])], "#bbb" if digit == 1 else "#eee", width=1)
                    if digit in (1, 3):
                        self.text(self.x(value), HEIGHT - BOTTOM + 18, f"{value / 1e6:g}M", "middle")
        for power in range(math.floor(math.log10(self.y_range[0])), math.ceil(math.log10(self.y_range[1])) + 1):
            for digit in range(1, 10):
                value = digit * 10.0**power
                if self.y_range[0] * 0.999 <= value <= self.y_range[1] * 1.001:
                    self.line([(self.x_range[0], value), (self.x_range[1], value)], "#bbb" if digit == 1 else "#eee", width=1)
                    if digit == 1:
                        self.text(LEFT - 8, self.y(value) + 4, f"{value:g}", "end")
        self.text(LEFT, 24, title, more='font-size="16" font-weight="bold"')
        self.text(LEFT, 46, subtitle)
        self.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 18, x_label, "middle")
        middle = (TOP + HEIGHT - BOTTOM) / 2
        self.text(22, middle, y_label, "middle", f'transform="rotate(-90 22 {middle:.0f})"')

    def svg(self) -> str:
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
                'font-family="sans-serif" font-size="13" fill="#222">\n'
                f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n' + "\n".join(self.parts) + "\n</svg>\n")


def decades(values: list[float]) -> tuple[float, float]:
    return 10.0 ** math.floor(math.log10(min(values))), 10.0 ** math.ceil(math.log10(max(values)))


def curves(data: dict) -> list[dict]:
    """Name, points and, where it is known, points of the limit."""
    by_name: dict[str, dict] = {}
    for line in sorted(data["routes"] + data.get("answers", []), key=lambda line: line["memory_tokens"]):
        is_answer = line["stage"] == "answer"
        curve = by_name.setdefault("answer" if is_answer else line["type"], {"points": [], "limit": []})
        curve["points"].append((line["memory_tokens"], line["median_ms"]))
        limit = line.get("reading_alone_ms" if is_answer else "limit_ms")
        if limit is not None:
            curve["limit"].append((line["memory_tokens"], limit))
    return [{"name": name, **curve} for name, curve in by_name.items()]


def draw(data: dict) -> str:
    drawn = curves(data)
    points = [point for curve in drawn for point in curve["points"] + curve["limit"]]
    decode_ms = 100e3 / data["decode"]["tokens_per_second"] if "decode" in data else None
    tokens = [x for x, _ in points]
    plot = Plot((min(tokens) * 0.9, max(tokens) * 1.1), decades([y for _, y in points] + ([decode_ms] if decode_ms else [])))
    first = data["routes"][0]
    where = first.get("device", f"{first.get('threads')} threads")
    plot.axes(f"One question of {first['tokens']} tokens as the memory grows",
              f"routing in {first['layers']} layers, keys of {first['dim']} values, {where}",
              f"tokens in memory ({CHUNK_TOKENS} a chunk)", "milliseconds")
    labels = []  # (y, text, colour)
    for colour, curve in zip(COLOURS, drawn):
        plot.line(curve["points"], colour)
        for x, y in curve["points"]:
            plot.parts.append(f'<circle cx="{plot.x(x):.1f}" cy="{plot.y(y):.1f}" r="4" fill="{colour}">'
                              f'<title>{y:.3f} ms</title></circle>')
        last = curve["points"][-1][1]
        name = "whole answer" if curve["name"] == "answer" else curve["name"]
        labels.append((plot.y(last), f"{name}: {last:.3g} ms", colour))
        if curve["limit"]:
            plot.line(curve["limit"], colour, "6 4", 1.5)
            last = curve["limit"][-1][1]
            labels.append((plot.y(last), f"read alone: {last:.3g} ms", colour))
    if decode_ms:
        plot.line([(x, decode_ms) for x in plot.x_range], "#555", "2 3", 1.5)
        labels.append((plot.y(decode_ms), f"decode 100 tokens: {decode_ms:.3g} ms", "#555"))
    last = -math.inf
    for y, text, colour in sorted(labels):  # none over another
        last = max(y + 4, last + 16)
        plot.text(WIDTH - RIGHT + 8, last, text, more=f'fill="{colour}"')
    return plot.svg()


def table(data: dict) -> str:
    rows = ["| keys | tokens | chunks | median | best, worst | reading alone | ratio | documents as float64 |",
            "|---|---|---|---|---|---|---|---|"]
    for line in data["routes"]:
        limit, ratio = (f"{line['limit_ms']:.3f} ms", f"{line['ratio']:.3f}") if "limit_ms" in line else ("", "")
        rows.append(f"| {line['type']} | {line['memory_tokens']:,} | {line['chunks']:,} | {line['median_ms']:.3f} ms | "
                    f"{line['best_ms']:.3f}, {line['worst_ms']:.3f} | {limit} | {ratio} | "
                    f"{line['same_documents_as_float64']} of {line['of']} |")
    for line in data.get("answers", []):
        rows.append(f"| answer, {line['keys']} | {line['memory_tokens']:,} | {line['chunks']:,} | {line['median_ms']:.1f} ms | "
                    f"{line['best_ms']:.1f}, {line['worst_ms']:.1f} | "
                    + (f"{line['reading_alone_ms']:.1f} ms | {line['median_ms'] / line['reading_alone_ms']:.3f} | |"
                       if "reading_alone_ms" in line else " | | |"))
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("msa")
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="gpu")
    parser.add_argument("--types", default="bf16,int8")
    parser.add_argument("--tokens", default="1,3,10,30,100", help="in millions")
    parser.add_argument("--layers", type=int, default=18)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--question-tokens", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--decode", metavar="SHAPE.json")
    parser.add_argument("--answer", metavar="SHAPE.json")
    parser.add_argument("--answer-tokens", default="1,3,10,30,100", help="in millions")
    parser.add_argument("--from", dest="measured", type=Path)
    o = parser.parse_args()
    data = json.loads(o.measured.read_text()) if o.measured else measure(o)
    if not o.measured:
        o.out.with_suffix(".json").write_text(json.dumps(data, indent=1))
    o.out.write_text(draw(data), encoding="utf-8")
    print(table(data))


if __name__ == "__main__":
    main()
