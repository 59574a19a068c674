#!/usr/bin/env python3
"""Measures the program on a CPU and prints Markdown: routing, encoding, decoding, memory, start.

usage: cpu_report.py MSA MODEL_DIR CORPUS.jsonl[.zst] [--threads 2] [--rounds 3] [--skip-torch]

CORPUS must hold 20,000 documents or more. Each program runs by itself, in turn, `rounds` times; the table gives the median
and the range of the rounds' medians. Without --skip-torch the Python that runs this needs torch, transformers and safetensors.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
QUESTION = "when was the bridge over the river built"


def json_lines(command: list[str], threads: int) -> list[dict]:
    output = subprocess.run(command, check=True, capture_output=True, text=True,
                            env={**os.environ, "OMP_NUM_THREADS": str(threads)}).stdout
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def peak_mb(command: list[str]) -> tuple[float, float]:
    """Largest resident memory of a command in MB, and its seconds."""
    code = ("import json,resource,subprocess,sys,time;t=time.perf_counter();"
            "subprocess.run(sys.argv[1:],check=True,stdout=subprocess.DEVNULL,stderr=subprocess.DEVNULL);"
            "print(json.dumps([resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss/1000,time.perf_counter()-t]))")
    result = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, text=True)
    megabytes, seconds = json.loads(result.stdout)
    return megabytes, seconds


def spread(values: list[float], digits: int = 0) -> str:
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} - {max(values):,.{digits}f})"


def speeds(o) -> None:
    route: dict[str, list[float]] = {}
    rates: dict[str, list[float]] = {}
    for _ in range(o.rounds):
        for kind in ("bf16", "int8", "f32"):
            line = json_lines([o.msa, "bench", "route", "--type", kind, "--json"], o.threads)[0]
            assert line["same_documents_as_float64"] == line["of"], line
            route.setdefault(f"msa {kind} ({line['path']})", []).append(line["median_ms"])
        for kind in ("f32", "bf16"):
            for stage in ("encode", "decode"):
                line = json_lines([o.msa, "bench", stage, "--precision", kind, "--device", "cpu", "--model", o.model, "--json"], o.threads)[0]
                rates.setdefault(f"msa {stage}, {kind}", []).append(line["tokens_per_second"])
        if o.skip_torch:
            continue
        threads = ["--threads", str(o.threads)]
        for line in json_lines([sys.executable, str(HERE / "compare/route.py"), *threads], o.threads):
            for form in ("per_head", "folded"):
                route.setdefault(f"torch {form}, {line['type']}", []).append(line[form + "_ms"])
        for line in json_lines([sys.executable, str(HERE / "compare/transformers_speed.py"), o.model, *threads], o.threads):
            rates.setdefault(f"transformers {line['stage']}, {line['type']}", []).append(line["tokens_per_second"])
    print("| routing, 18 layers x 15,625 chunks x 1,024, 48 tokens | ms, median (range) |\n|---|---|")
    for name, values in route.items():
        print(f"| {name} | {spread(values, 1)} |")
    print("\n| embedded model, 8 x 512 tokens in, or one by one out | tokens/s, median (range) |\n|---|---|")
    for name, values in rates.items():
        print(f"| {name} | {spread(values)} |")


def memory_and_start(o) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cat = ["zstd", "-dc", o.corpus] if o.corpus.endswith(".zst") else ["cat", o.corpus]
        lines = subprocess.run(cat, check=True, capture_output=True).stdout.split(b"\n")
        print("\n| ingest | peak memory, MB | seconds |\n|---|---|---|")
        common = ["--threads", str(o.threads), "--device", "cpu", "--model", o.model]
        for count in (1_000, 10_000, 20_000):
            path = Path(folder) / f"{count}.jsonl"
            path.write_bytes(b"\n".join(lines[:count]) + b"\n")
            megabytes, seconds = peak_mb([o.msa, "ingest", f"{folder}/{count}", str(path), *common])
            print(f"| {count:,} documents | {megabytes:,.0f} | {seconds:,.1f} |")
        print("\n| start to first answer, new process | peak memory, MB | routing keys, MB | seconds, median (range) |\n|---|---|---|---|")
        for count in (1_000, 10_000, 20_000):
            bank = f"{folder}/{count}"
            stat = json_lines([o.msa, "bank", "stat", bank, "--json"], o.threads)[0]
            runs = [peak_mb([o.msa, "ask", bank, QUESTION, *common]) for _ in range(max(3, o.rounds))]
            print(f"| {count:,} documents, {stat['chunks']:,} chunks | {max(m for m, _ in runs):,.0f} "
                  f"| {stat['routing_key_bytes'] / 1e6:,.1f} | {spread([s for _, s in runs], 2)} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("msa", "model", "corpus"):
        parser.add_argument(name)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip-torch", action="store_true")
    o = parser.parse_args()
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    version = subprocess.run([o.msa, "--version"], capture_output=True, text=True).stdout.strip()
    print(f"{cpu}, {o.threads} threads; {version}; {time.strftime('%Y-%m-%d')}; {o.rounds} rounds\n")
    speeds(o)
    memory_and_start(o)


if __name__ == "__main__":
    main()
