"""Hugging Face transformers on the same weights: prefill and greedy decode, tokens/s, as JSON lines.

usage: transformers_speed.py MODEL_DIR|CONFIG.json [--device cpu|cuda] [--threads 2] [--batch 8] [--length 512] [--new 128]
                             [--repeats 7] [--msa build/cuda/msa]

The router weights of an MSA folder are left out: what remains is a plain Qwen3 model. A config.json alone gets random weights.
With --msa the program decodes as many tokens of the same model behind a prompt of the same length, in the same run on the same
machine, and the ratio of the two rates is printed. On a GPU the largest matrix product of bfloat16 is measured as well: 8192 x 8192 x 8192.
"""

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file


def load(folder: Path, dtype: torch.dtype, device: str):
    is_shape = folder.suffix == ".json"
    values = json.loads((folder if is_shape else folder / "config.json").read_text())
    for key in ("msa_config", "architectures", "model_type", "torch_dtype", "quantization_config"):
        values.pop(key, None)
    config = transformers.Qwen3Config(**values)
    with torch.device(device):
        torch.set_default_dtype(dtype)
        model = transformers.Qwen3ForCausalLM(config).eval()
        torch.set_default_dtype(torch.float32)
    if is_shape:
        return model
    stored = {k: v for k, v in load_file(folder / "model.safetensors").items() if "router" not in k}
    weights = {k: v * stored[k + "_scale"].float() if v.dtype == torch.int8 else v for k, v in stored.items() if not k.endswith("_scale")}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    model.tie_weights()
    return model.to(dtype)


def timed(call, repeats: int, wait=lambda: None):
    call()
    wait()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        wait()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), min(seconds), max(seconds)


def msa_decode(options, dtype: torch.dtype) -> dict:
    """What `msa bench decode` prints of the same model, device and number of tokens."""
    subject = "--shape" if options.model.suffix == ".json" else "--model"
    command = [options.msa.resolve(), "bench", "decode", subject, options.model, "--length", options.new,
               "--threads", options.threads, "--repeats", options.repeats, "--device", "gpu" if options.device == "cuda" else "cpu", "--json"]
    if options.device == "cpu" and subject == "--model":
        command += ["--precision", "f32" if dtype == torch.float32 else "bf16"]
    output = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout
    return json.loads(output.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--new", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--msa", type=Path, help="the msa program: compare its decoding")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    on_gpu = options.device == "cuda"
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    if on_gpu:
        a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
        median, _, _ = timed(lambda: a @ b, 20, wait)
        print(json.dumps({"stage": "product 8192", "type": "bfloat16", "teraflops": round(2 * 8192**3 / median / 1e12)}),
              flush=True)
    for dtype in (torch.bfloat16,) if on_gpu else (torch.float32, torch.bfloat16):
        model = load(options.model, dtype, options.device)
        vocabulary = model.config.vocab_size
        ids = torch.randint(5, vocabulary, (options.batch, options.length), device=options.device)
        prompt = torch.randint(5, vocabulary, (1, 32), device=options.device)
        with torch.inference_mode():
            full = timed(lambda: model(ids, use_cache=False), options.repeats, wait)
            last = timed(lambda: model(ids, use_cache=False, logits_to_keep=1), options.repeats, wait)
            decode = timed(
                lambda: model.generate(prompt, max_new_tokens=options.new, min_new_tokens=options.new,
                                       do_sample=False, pad_token_id=0),
                max(3, options.repeats // 2), wait)
        tokens = options.batch * options.length
        for name, count, (median, best, worst) in (
                ("prefill, all logits", tokens, full), ("prefill, last logits", tokens, last),
                ("decode", options.new, decode)):
            print(json.dumps({"program": f"transformers {transformers.__version__}, torch {torch.__version__}",
                              "device": torch.cuda.get_device_name() if on_gpu else "cpu",
                              "stage": name, "type": str(dtype).removeprefix("torch."),
                              "threads": options.threads, "tokens": count,
                              "tokens_per_second": round(count / median),
                              "slowest": round(count / worst), "fastest": round(count / best)}), flush=True)
        if options.msa is not None:
            del model
            if on_gpu:
                torch.cuda.empty_cache()
            ours = msa_decode(options, dtype)
            print(json.dumps(ours | {"program": "msa", "of_transformers": round(
                ours["tokens_per_second"] * decode[0] / options.new, 2)}), flush=True)


if __name__ == "__main__":
    main()
