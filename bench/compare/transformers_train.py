"""Hugging Face transformers: forward and backward of language modelling on random weights, tokens/s, as JSON lines.

usage: transformers_train.py CONFIG.json [--device cpu|cuda] [--batch 8] [--length 2048] [--checkpointing] [--repeats 5] [--msa build/cuda/msa]

Weights and gradients are bfloat16 on a GPU (float32 on the CPU), attention is PyTorch's scaled_dot_product_attention, and nothing of the
optimizer is timed. With --msa the program's own step (`msa bench train`: float32 weights and gradients, activations in bfloat16) follows
for as many tokens of the same shape, in documents of its own lengths, and how many times faster it is gets printed.
"""

import argparse
import json
import subprocess
from pathlib import Path

import torch
import transformers

from transformers_speed import load, timed


def msa_train(o) -> dict:
    command = [o.msa.resolve(), "bench", "train", "--shape", o.config, "--tokens", o.batch * o.length, "--repeats", o.repeats,
               "--recompute", "layers" if o.checkpointing else "none", "--device", "gpu" if o.device == "cuda" else "cpu", "--json"]
    output = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout
    return json.loads(output.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--msa", type=Path, help="the msa program, to be timed behind it")
    o = parser.parse_args()
    on_gpu = o.device == "cuda"
    torch.manual_seed(1)
    model = load(o.config, torch.bfloat16 if on_gpu else torch.float32, o.device).train()
    if o.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    ids = torch.randint(5, model.config.vocab_size, (o.batch, o.length), device=o.device)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        model(ids, labels=ids, use_cache=False).loss.backward()

    median, best, worst = timed(step, o.repeats, torch.cuda.synchronize if on_gpu else lambda: None)
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in model.parameters())
    tokens = o.batch * o.length
    print(json.dumps({"program": f"transformers {transformers.__version__}, torch {torch.__version__}",
                      "device": torch.cuda.get_device_name() if on_gpu else "cpu", "checkpointing": o.checkpointing,
                      "tokens": tokens, "tokens_per_second": round(tokens / median), "slowest": round(tokens / worst),
                      "fastest": round(tokens / best),
                      "peak_bytes": torch.cuda.max_memory_allocated() if on_gpu else None}), flush=True)
    if o.msa is not None:
        del model
        if on_gpu:
            torch.cuda.empty_cache()
        ours = msa_train(o)
        print(json.dumps(ours | {"program": "msa", "of_transformers": round(ours["tokens_per_second"] * median / tokens, 2)}),
              flush=True)


if __name__ == "__main__":
    main()
