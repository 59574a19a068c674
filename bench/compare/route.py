"""Routing in PyTorch, for the same shape as `msa bench route`: the published form, one product a head, and the folded form.

usage: route.py [--layers 18] [--chunks 15625] [--tokens 48] [--threads 2] [--repeats 5] [--device cpu|cuda] [--msa PATH]

32 query heads, 8 kv heads of 128 numbers; mean over heads, maximum over tokens, maximum over the 5 chunks of a document, the
16 best documents. One layer is timed and multiplied for the per-head form, which takes seconds; all layers for the folded. On a
GPU both read one layer's keys, bfloat16 alone, and the per-head form takes 16,384 chunks at a time, as published.

With --msa, `PATH bench route` then runs for the same shape on the same device, and how many times faster it is gets printed:

    route.py --device cuda --chunks 1562500 --msa build/cuda/msa
"""

import argparse
import json
import statistics
import subprocess
import time

import torch

HEADS, KV_HEADS, DIM, CHUNKS_PER_DOCUMENT, TOP_K = 32, 8, 128, 5, 16


def documents_of(chunk_scores: torch.Tensor, document: torch.Tensor, count: int) -> torch.Tensor:
    best = torch.full((count,), float("-inf"), dtype=chunk_scores.dtype, device=chunk_scores.device)
    return best.scatter_reduce(0, document, chunk_scores, "amax").topk(TOP_K).indices


def per_head(query, key, is_padding, document, count, at_once):
    """query [1, H, T, D], key [G, C, D], is_padding [1, T]: scores of every head, padded tokens masked, then the mean."""
    grouped = query.view(1, KV_HEADS, HEADS // KV_HEADS, -1, DIM)
    best = []
    for part in key.split(at_once, dim=1):
        scores = torch.matmul(grouped, part[None, :, None].transpose(-1, -2)).flatten(1, 2)
        scores.masked_fill_(is_padding[:, None, :, None], float("-inf"))
        best.append(scores.mean(1).amax(1)[0])
    return documents_of(torch.cat(best), document, count)


def folded(query, key, document, count):
    """query [T, F], key [C, F]: the mean over heads is in the query."""
    return documents_of((query @ key.T).amax(0), document, count)


def median_ms(call, repeats, device):
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def compare(o, per_head_ms: float, folded_ms: float) -> None:
    """Runs msa over each type of keys that it knows there, and says how long torch takes beside it."""
    on_gpu = o.device == "cuda"
    shape = [f"--{name}={getattr(o, name)}" for name in ("layers", "chunks", "tokens", "repeats")]
    where = ["--device=gpu"] if on_gpu else ["--device=cpu", f"--threads={o.threads}"]
    for kind in ("bf16", "int8", "int4") if on_gpu else ("f32", "bf16", "int8"):
        command = [o.msa, "bench", "route", "--json", f"--type={kind}", *shape, *where]
        ours = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        limit = {key: round(ours[key], 3) for key in ("limit_ms", "ratio") if key in ours}
        print(json.dumps({"program": "msa", "type": kind, "median_ms": round(ours["median_ms"], 3), **limit,
                          "times_per_head": round(per_head_ms / ours["median_ms"], 1),
                          "times_folded": round(folded_ms / ours["median_ms"], 2),
                          "same_documents_as_float64": ours["same_documents_as_float64"], "of": ours["of"]}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, value in (("layers", 18), ("chunks", 15625), ("tokens", 48), ("threads", 2), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--msa", help="the msa program, to be timed beside it")
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    torch.manual_seed(1)
    on_gpu = o.device == "cuda"
    at_once = 16384 if on_gpu else o.chunks
    count = -(-o.chunks // CHUNKS_PER_DOCUMENT)
    document = torch.arange(o.chunks, device=o.device) // CHUNKS_PER_DOCUMENT
    normal = lambda *shape: torch.nn.functional.normalize(
        torch.randn(*shape, DIM, device=o.device, dtype=torch.bfloat16 if on_gpu else torch.float32), dim=-1)
    query = normal(HEADS, o.tokens)
    keys = [normal(KV_HEADS, o.chunks) for _ in range(1 if on_gpu else o.layers)]
    is_padding = torch.zeros(1, o.tokens, dtype=torch.bool, device=o.device)
    fold = query.view(KV_HEADS, HEADS // KV_HEADS, o.tokens, DIM).sum(1).transpose(0, 1).flatten(1) / HEADS
    for dtype in (torch.bfloat16,) if on_gpu else (torch.float32, torch.bfloat16):
        q, f, first = query.to(dtype), fold.to(dtype), keys[0].to(dtype)
        flat = [k.transpose(0, 1).flatten(1).to(dtype).contiguous() for k in keys]
        heads = lambda: per_head(q[None], first, is_padding, document, count, at_once)
        with torch.inference_mode():
            same = len(set(heads().tolist()) & set(folded(f, flat[0], document, count).tolist()))
            head_ms = median_ms(heads, o.repeats, o.device) * o.layers
            fold_ms = median_ms(lambda: [folded(f, k, document, count) for k in flat], o.repeats, o.device)
            fold_ms *= o.layers / len(flat)
        print(json.dumps({"program": f"torch {torch.__version__}", "type": str(dtype).removeprefix("torch."),
                          "device": torch.cuda.get_device_name() if on_gpu else "cpu", "threads": o.threads,
                          "per_head_ms": round(head_ms), "folded_ms": round(fold_ms, 1),
                          "same_documents": same, "of": TOP_K}), flush=True)
    if o.msa:
        del keys, first, flat, heads  # the last torch type's times are compared with
        if on_gpu:
            torch.cuda.empty_cache()
        compare(o, head_ms, fold_ms)


if __name__ == "__main__":
    main()
