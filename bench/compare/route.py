"""Routing in PyTorch, for the same shape as `msa bench route`: the published form, one product a head, and the folded form.

usage: route.py [--layers 18] [--chunks 15625] [--tokens 48] [--threads 2] [--repeats 5]

32 query heads, 8 kv heads of 128 numbers; mean over heads, maximum over tokens, maximum over the 5 chunks of a document, the
16 best documents. One layer is timed and multiplied for the per-head form, which takes seconds; all layers for the folded.
"""

import argparse
import json
import statistics
import time

import torch

HEADS, KV_HEADS, DIM, CHUNKS_PER_DOCUMENT, TOP_K = 32, 8, 128, 5, 16


def documents_of(chunk_scores: torch.Tensor, document: torch.Tensor, count: int) -> torch.Tensor:
    best = torch.full((count,), float("-inf"), dtype=chunk_scores.dtype)
    return best.scatter_reduce(0, document, chunk_scores, "amax").topk(TOP_K).indices


def per_head(query, key, is_padding, document, count):
    """query [1, H, T, D], key [G, C, D], is_padding [1, T]: scores of every head, padded tokens masked, then the mean."""
    grouped = query.view(1, KV_HEADS, HEADS // KV_HEADS, -1, DIM)
    scores = torch.matmul(grouped, key[None, :, None].transpose(-1, -2)).flatten(1, 2)
    scores.masked_fill_(is_padding[:, None, :, None], float("-inf"))
    return documents_of(scores.mean(1).amax(1)[0], document, count)


def folded(query, key, document, count):
    """query [T, F], key [C, F]: the mean over heads is in the query."""
    return documents_of((query @ key.T).amax(0), document, count)


def median_ms(call, repeats):
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, value in (("layers", 18), ("chunks", 15625), ("tokens", 48), ("threads", 2), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    torch.manual_seed(1)
    count = -(-o.chunks // CHUNKS_PER_DOCUMENT)
    document = torch.arange(o.chunks) // CHUNKS_PER_DOCUMENT
    query = torch.nn.functional.normalize(torch.randn(HEADS, o.tokens, DIM), dim=-1)
    keys = [torch.nn.functional.normalize(torch.randn(KV_HEADS, o.chunks, DIM), dim=-1) for _ in range(o.layers)]
    is_padding = torch.zeros(1, o.tokens, dtype=torch.bool)
    fold = query.view(KV_HEADS, HEADS // KV_HEADS, o.tokens, DIM).sum(1).transpose(0, 1).flatten(1) / HEADS
    for dtype in (torch.float32, torch.bfloat16):
        q, f, first = query.to(dtype), fold.to(dtype), keys[0].to(dtype)
        flat = [k.transpose(0, 1).flatten(1).to(dtype).contiguous() for k in keys]
        with torch.inference_mode():
            same = len(set(per_head(q[None], first, is_padding, document, count).tolist())
                       & set(folded(f, flat[0], document, count).tolist()))
            head_ms = median_ms(lambda: per_head(q[None], first, is_padding, document, count), o.repeats) * o.layers
            fold_ms = median_ms(lambda: [folded(f, k, document, count) for k in flat], o.repeats)
        print(json.dumps({"program": f"torch {torch.__version__}", "type": str(dtype).removeprefix("torch."),
                          "threads": o.threads, "per_head_ms": round(head_ms), "folded_ms": round(fold_ms, 1),
                          "same_documents": same, "of": TOP_K}), flush=True)


if __name__ == "__main__":
    main()
