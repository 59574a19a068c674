"""Hugging Face transformers on the same weights: prefill and greedy decode, tokens/s, as JSON lines.

usage: transformers_speed.py MODEL_DIR [--threads 2] [--batch 8] [--length 512] [--new 128] [--repeats 7]

The router weights of an MSA folder are left out: what remains is a plain Qwen3 model.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file


def load(folder: Path, dtype: torch.dtype):
    values = json.loads((folder / "config.json").read_text())
    for key in ("msa_config", "architectures", "model_type", "torch_dtype"):
        values.pop(key, None)
    config = transformers.Qwen3Config(**values)
    model = transformers.Qwen3ForCausalLM(config).to(dtype).eval()
    weights = {k: v for k, v in load_file(folder / "model.safetensors").items() if "router" not in k}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    model.tie_weights()
    return model


def timed(call, repeats: int):
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), min(seconds), max(seconds)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--new", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    for dtype in (torch.float32, torch.bfloat16):
        model = load(options.model, dtype)
        vocabulary = model.config.vocab_size
        ids = torch.randint(5, vocabulary, (options.batch, options.length))
        prompt = torch.randint(5, vocabulary, (1, 32))
        with torch.inference_mode():
            full = timed(lambda: model(ids, use_cache=False), options.repeats)
            last = timed(lambda: model(ids, use_cache=False, logits_to_keep=1), options.repeats)
            decode = timed(
                lambda: model.generate(prompt, max_new_tokens=options.new, min_new_tokens=options.new,
                                       do_sample=False, pad_token_id=0),
                max(3, options.repeats // 2))
        tokens = options.batch * options.length
        for name, count, (median, best, worst) in (
                ("prefill, all logits", tokens, full), ("prefill, last logits", tokens, last),
                ("decode", options.new, decode)):
            print(json.dumps({"program": f"transformers {transformers.__version__}, torch {torch.__version__}",
                              "stage": name, "type": str(dtype).removeprefix("torch."),
                              "threads": options.threads, "tokens": count,
                              "tokens_per_second": round(count / median),
                              "slowest": round(count / worst), "fastest": round(count / best)}), flush=True)


if __name__ == "__main__":
    main()
