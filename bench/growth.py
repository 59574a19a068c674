#!/usr/bin/env python3
"""How msa grows with the memory, from 1 to 100 million tokens: `msa bench route`, `fetch` and `answer` as a table and a plot.

usage: growth.py MSA OUT.svg [--device gpu] [--types bf16,int8,int4] [--tokens 1,3,10,30,100] [--layers 18] [--dim 1024] ...

OUT.svg is a plot with logarithmic axes: for every type of keys the time of one question, and dashed the time of reading
the keys and nothing else where the device tells it. OUT.json beside it has every line that the program printed; with
--from OUT.json nothing is measured. --shape SHAPE.json adds, of a model of that shape, fetching 16 documents in all router
layers from pinned memory, whole answers in two rounds, and what of them is decoding 64 tokens (int8 keys, int4 content).
--ingest ERR,ERR... draws OUT_ingest.svg from the progress that one or several runs of `msa ingest` into one bank wrote to
their standard error.
"""

import argparse
import html
import json
import math
import re
import subprocess
import sys
from pathlib import Path

CHUNK_TOKENS = 64
COLOURS = ["#2166ac", "#b2182b", "#1b7837", "#e08214", "#762a83", "#555555"]
WIDTH, HEIGHT = 820, 500
LEFT, RIGHT, TOP, BOTTOM = 76, 220, 62, 62


def bench(o, *flags: str) -> dict:
    command = [o.msa, "bench", *flags, "--device", o.device, "--json"]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(result.stdout.splitlines()[-1])


def chunks_of(millions: float) -> int:
    return round(millions * 1e6 / CHUNK_TOKENS)


def measure(o) -> dict:
    data = {"device": o.device, "routes": []}

    def add(stage: str, chunks: int, line: dict) -> None:
        data.setdefault(stage, []).append({**line, "memory_tokens": chunks * CHUNK_TOKENS})
        print(json.dumps(data[stage][-1]), file=sys.stderr, flush=True)

    sizes = [chunks_of(millions) for millions in map(float, o.tokens.split(","))]
    for kind in filter(None, o.types.split(",")):
        for chunks in sizes:
            add("routes", chunks, bench(o, "route", "--type", kind, "--chunks", str(chunks), "--layers", str(o.layers), "--dim",
                                        str(o.dim), "--tokens", str(o.question_tokens), "--repeats", str(o.repeats)))
    for chunks in sizes if o.shape else ():
        memory = ("--shape", o.shape, "--chunks", str(chunks), "--key-type", "int8", "--content-type", "int4")
        keys = chunks * o.layers * (o.dim + 8) / 1e9  # GB; 0.5 GB for the rest, so that content stays with the host
        add("fetches", chunks, bench(o, "fetch", *memory, "--gpu-memory", f"{1020 * keys + 500:.0f}MB"))
        add("answers", chunks, bench(o, "answer", *memory, "--repeats", "5"))
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
    drawn: dict[str, dict] = {}

    def add(name: str, line: dict, milliseconds: float, limit: float | None = None) -> None:
        curve = drawn.setdefault(name, {"points": [], "limit": []})
        curve["points"].append((line["memory_tokens"], milliseconds))
        if limit is not None:
            curve["limit"].append((line["memory_tokens"], limit))

    for line in data["routes"]:
        add(f"routing, {line['type']}", line, line["median_ms"], line.get("limit_ms"))
    for line in data.get("fetches", []):
        add("fetch", line, line["median_ms"])
    for line in data.get("answers", []):
        add("whole answer", line, line["median_ms"])
        add(f"of it decode {line['tokens_written']}", line, line["write_ms"])
    return [{"name": name, **curve} for name, curve in drawn.items()]


def draw(drawn: list[dict], title: str, subtitle: str, unit: str) -> str:
    points = [point for curve in drawn for point in curve["points"] + curve["limit"]]
    tokens = [x for x, _ in points]
    plot = Plot((min(tokens) * 0.9, max(tokens) * 1.1), decades([y for _, y in points]))
    plot.axes(title, subtitle, f"tokens in memory ({CHUNK_TOKENS} a chunk)" if unit == "ms" else "tokens in the bank", unit)
    labels = []  # (y, text, colour)
    for colour, curve in zip(COLOURS, drawn):
        plot.line(curve["points"], colour)
        for x, y in curve["points"]:
            plot.parts.append(f'<circle cx="{plot.x(x):.1f}" cy="{plot.y(y):.1f}" r="4" fill="{colour}">'
                              f'<title>{y:.3f} {unit}</title></circle>')
        last = curve["points"][-1][1]
        labels.append((plot.y(last), f"{curve['name']}: {last:.3g} {unit}", colour))
        if curve["limit"]:
            plot.line(curve["limit"], colour, "6 4", 1.5)
            last = curve["limit"][-1][1]
            labels.append((plot.y(last), f"read alone: {last:.3g} {unit}", colour))
    last = -math.inf
    for y, text, colour in sorted(labels):  # none over another
        last = max(y + 4, last + 16)
        plot.text(WIDTH - RIGHT + 8, last, text, more=f'fill="{colour}"')
    return plot.svg()


def draw_online(data: dict) -> str:
    first = data["routes"][0]
    where = first.get("device", f"{first.get('threads')} threads")
    return draw(curves(data), f"One question of {first['tokens']} tokens as the memory grows",
                f"{first['layers']} router layers, keys of {first['dim']} values, {where}", "ms")


def read_progress(files: list[str]) -> list[tuple[float, float]]:
    """(tokens, seconds) summed over runs, at about every tenth of a decade."""
    points, tokens_before, seconds_before = [], 0, 0.0
    for file in files:
        tokens, seconds = 0, 0.0
        for text in re.findall(r"(\d+) tokens, (\d+) tokens/s", Path(file).read_text(errors="replace")):
            tokens, rate = map(int, text)
            seconds = tokens / rate if rate else 0.0
            all_tokens = tokens_before + tokens
            if seconds > 0 and (not points or all_tokens >= 1.25 * points[-1][0]):
                points.append((all_tokens, seconds_before + seconds))
        tokens_before, seconds_before = tokens_before + tokens, seconds_before + seconds
    if tokens_before > points[-1][0]:
        points.append((tokens_before, seconds_before))
    return points


def table(data: dict) -> str:
    rows = ["| keys | tokens | chunks | median | best, worst | reading alone | ratio | documents as float64 |",
            "|---|---|---|---|---|---|---|---|"]
    for line in data["routes"]:
        limit, ratio = (f"{line['limit_ms']:.3f} ms", f"{line['ratio']:.3f}") if "limit_ms" in line else ("", "")
        rows.append(f"| {line['type']} | {line['memory_tokens']:,} | {line['chunks']:,} | {line['median_ms']:.3f} ms | "
                    f"{line['best_ms']:.3f}, {line['worst_ms']:.3f} | {limit} | {ratio} | "
                    f"{line['same_documents_as_float64']} of {line['of']} |")
    rows += ["", "| stage | tokens | median | |", "|---|---|---|---|"]
    for line in data.get("fetches", []):
        rows.append(f"| fetch, {line['content']} | {line['memory_tokens']:,} | {line['median_ms']:.3f} ms | {line['place']} |")
    for line in data.get("answers", []):
        rows.append(f"| answer, {line['keys']} | {line['memory_tokens']:,} | {line['median_ms']:.1f} ms ({line['best_ms']:.1f} to "
                    f"{line['worst_ms']:.1f}) | prefill {line['prefill_ms']:.1f}, of it routing {line['route_ms']:.1f}; decode "
                    f"{line['write_ms']:.1f} |")
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
    parser.add_argument("--shape", metavar="SHAPE.json")
    parser.add_argument("--ingest", metavar="ERR,ERR...")
    parser.add_argument("--from", dest="measured", type=Path)
    o = parser.parse_args()
    if o.ingest:
        points = read_progress(o.ingest.split(","))
        curve = {"name": "ingest", "points": points, "limit": []}
        o.out.with_stem(o.out.stem + "_ingest").write_text(
            draw([curve], "Ingest as the bank grows", "documents to pooled keys and values in a bank on disk", "s"))
        print("| tokens | seconds |\n|---|---|\n" + "\n".join(f"| {x:,} | {y:.2f} |" for x, y in points) + "\n")
    data = json.loads(o.measured.read_text()) if o.measured else measure(o)
    if not o.measured:
        o.out.with_suffix(".json").write_text(json.dumps(data, indent=1))
    o.out.write_text(draw_online(data), encoding="utf-8")
    print(table(data))


if __name__ == "__main__":
    main()
