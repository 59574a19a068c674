#!/usr/bin/env python3
"""What each part of the training recipe is worth: short runs that differ in one thing, as a table.

    ablations.py CONFIG.toml OUTPUT [--msa build/cuda/msa] [--language-steps 1000] [--steps 250] [--only NAME ...] [--seconds S] [--jobs N]

[run], [model] (its shape and tokenizer) and [data] are CONFIG's. A language model is trained once; every variant begins with it and
trains over a memory. OUTPUT keeps every run: what was done is not done again, and `--steps 0` only prints the table. No variant
begins later than --seconds after the start. With several --jobs as many variants share the device; seconds a step are theirs then.
"""

import argparse
import concurrent.futures
import copy
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
import tomllib

LANGUAGE = {
    "name": "language", "rate": 4e-3, "losses": {"language": 1},
    "schedule": {"curve": "wsd", "warmup_steps": 100, "final_factor": 0.5},
    "mixture": {"memory_tokens": 0},
}
MEMORY = {
    "name": "memory", "rate": 2e-3, "routers": "attention_keys", "force_gold": True,
    "schedule": {"curve": "wsd", "warmup_steps": 50, "decay_share": 0.5, "final_factor": 0.04},
    "losses": {"language": 0.3, "documents": 0.3, "auxiliary": 1, "ids": 0.5, "reconstruction": 0.02, "answer": 1},
    "auxiliary": {"method": "INFONCE_DECOUPLE", "temperature": 0.05, "negatives": 96},
    "mixture": {"ids_max_digits": 6},
}

# Name: keys of MEMORY that are others ("a.b" is b in a), or what make_config knows of.
VARIANTS = {
    "the recipe": {},
    "routers drawn at random": {"routers": "random"},
    "no language phase": {"random model": True},
    "P = 8": {"chunk tokens": 8},
    "P = 32": {"chunk tokens": 32},
    "P = 64": {"chunk tokens": 64},
    "negatives: 8": {"auxiliary.negatives": 8},
    "negatives: all": {"auxiliary.negatives": 0},
    "routers alone in the first 100 steps": {"routers alone": 100},
    "gold not forced among the chosen": {"force_gold": False},
    "ids not learned": {"losses.ids": 0},
    "memory's documents not learned": {"losses.documents": 0},
    "INFONCE": {"auxiliary.method": "INFONCE"},
    "temperature 0.1": {"auxiliary.temperature": 0.1},
    "temperature 0.02": {"auxiliary.temperature": 0.02},
    "dropout 0.1": {"dropout": 0.1},
}


def to_toml(table: dict, path: str = "") -> str:
    """As much of TOML as these configs need."""
    tables = {key: value for key, value in table.items() if isinstance(value, dict)}
    lists = {key: value for key, value in table.items() if isinstance(value, list) and value and isinstance(value[0], dict)}
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items() if key not in tables and key not in lists)
    for key, value in tables.items():
        text += f"\n[{path}{key}]\n" + to_toml(value, f"{path}{key}.")
    for key, value in lists.items():
        for one in value:
            text += f"\n[[{path}{key}]]\n" + to_toml(one, f"{path}{key}.")
    return text


def absolute(config: dict, folder: pathlib.Path) -> None:
    """Paths start at the config's folder, and the new one lies elsewhere."""
    def moved(path: str) -> str:
        return str((folder / path).resolve())
    data = config["data"]
    data["cache"] = moved(data["cache"])
    data["held_back"] = [moved(path) for path in data.get("held_back", [])]
    for source in data["source"]:
        source["documents"] = moved(source["documents"])
        source["questions"] = [moved(path) for path in source.get("questions", [])]
    for key in ("config", "tokenizer", "from"):
        if key in config["model"]:
            config["model"][key] = moved(config["model"][key])


def with_chunk_tokens(model: pathlib.Path, folder: pathlib.Path, tokens: int) -> pathlib.Path:
    """The model with another P. It has no say in the weights."""
    if not folder.exists():
        shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    config["msa_config"]["pooling_kernel_size"] = tokens
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def make_config(arguments, base: dict, name: str, changes: dict) -> dict:
    config = {"run": {**base["run"], "output": str(arguments.output / name), "checkpoint_seconds": 100_000},
              "model": dict(base["model"]), "data": base["data"],
              "evaluation": {"every_steps": 1_000_000, "questions": 500, "readings": 500, "memory_tokens": [163_840, 1_638_400]}}
    phase = copy.deepcopy(MEMORY)
    phase["stop"] = {"steps": arguments.steps}
    language = arguments.output / "language" / "model"
    if not changes.get("random model"):
        config["model"] = {"from": str(language), "precision": base["model"].get("precision", "float32")}
    if "chunk tokens" in changes:
        config["model"]["from"] = str(with_chunk_tokens(language, arguments.output / f"model-{changes['chunk tokens']}", changes["chunk tokens"]))
    for key, value in changes.items():
        if " " in key:
            continue
        table, _, last = key.rpartition(".")
        (phase[table] if table else phase)[last] = value
    config["phase"] = [phase]
    if "routers alone" in changes:
        first = copy.deepcopy(phase)
        first.update({"name": "routers", "train": "routers", "stop": {"steps": changes["routers alone"]}, "losses": {"language": 0, "auxiliary": 1}})
        phase["routers"] = "as_they_are"
        phase["stop"] = {"steps": arguments.steps - changes["routers alone"]}
        config["phase"] = [first, phase]
    return config


def train(arguments, name: str, config: dict) -> bool:
    """True if the run is done. One that was cut off goes on from its checkpoint."""
    folder = arguments.output / name
    if (folder / "model").exists():
        return True
    path, log_path = arguments.output / f"{name}.toml", arguments.output / f"{name}.log"
    path.write_text(to_toml(config))
    with open(log_path, "a", encoding="utf-8") as log:
        done = subprocess.run([str(arguments.msa), "train", str(path), "--resume"], stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode or not (folder / "model").exists():
        print(f"{name}: ended with {done.returncode} and no model, see {log_path}", file=sys.stderr)
        return False
    return True


def figures(folder: pathlib.Path) -> dict | None:
    """Of a run's log: in the batch around some steps, at the end held back."""
    if not (folder / "model").exists():
        return None
    log = [json.loads(line) for line in open(folder / "log.jsonl", encoding="utf-8")]
    steps = [line for line in log if line["kind"] == "step"]
    found = {}
    for at in sorted({50, 100, steps[-1]["step"]}):
        near = [line["routing"]["recall_1"] for line in steps if abs(line["step"] - at + 10) <= 10 and "recall_1" in line["routing"]]
        found[f"batch {at}"] = statistics.mean(near) if near else None
    for term in ("ids", "answer"):
        last = [line["losses"][term] for line in steps[-20:] if line["losses"].get(term) is not None]
        found[term] = statistics.mean(last) if last else None
    for line in log:
        if line["kind"] == "evaluation":
            for key, value in line["figures"].items():
                found[f"{line['memory_tokens']} {key}"] = value
    found["seconds a step"] = (steps[-1]["seconds"] - steps[0]["seconds"]) / (len(steps) - 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--msa", type=pathlib.Path, default=pathlib.Path("build/cuda/msa"))
    parser.add_argument("--language-steps", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--only", nargs="*", choices=list(VARIANTS))
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    if 0 < arguments.steps <= 100:
        parser.error("--steps must be above 100, in which routers learn alone in one variant, or 0")
    arguments.output = arguments.output.resolve()
    begin = time.monotonic()
    if arguments.steps > 0:
        base = tomllib.loads(arguments.config.read_text(encoding="utf-8"))
        if "from" in base["model"]:
            raise SystemExit(f"{arguments.config}: [model] must have a shape (config), not weights (from)")
        absolute(base, arguments.config.resolve().parent)
        arguments.output.mkdir(parents=True, exist_ok=True)
        language = make_config(arguments, base, "language", {"random model": True})
        language["phase"] = [{**LANGUAGE, "stop": {"steps": arguments.language_steps}}]
        language["evaluation"] = {"every_steps": 0}
        if not train(arguments, "language", language):
            raise SystemExit("no language model for the variants to begin with")
        def run(name: str) -> None:
            if time.monotonic() - begin < arguments.seconds:
                train(arguments, name, make_config(arguments, base, name, VARIANTS[name]))
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            list(pool.map(run, [name for name in VARIANTS if arguments.only is None or name in arguments.only]))
    rows = {name: figures(arguments.output / name) for name in VARIANTS}
    columns = list(dict.fromkeys(key for row in rows.values() if row for key in row))
    print("| variant | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    for name, row in rows.items():
        if row:
            cells = ["" if row.get(key) is None else f"{row[key]:.3f}" for key in columns]
            print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
