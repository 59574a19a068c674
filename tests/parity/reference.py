#!/usr/bin/env python3
"""A plain float32 forward of a model folder, one sequence at a time, and the golden numbers that it computes.

    reference.py MODEL < golden.jsonl > golden.new.jsonl

Of each line read the questions and texts count; what the model makes of them is computed again: prompts continued without a
memory, texts read, and questions over the documents of MODEL/golden_memory.jsonl. Needs torch, safetensors and tokenizers;
written for being followed, not for speed (some minutes). `margin` is the smallest distance between the two best logits on the way:
below 0.01 another order of sums may choose the other token.
"""

import json
import math
import re
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer

QUESTION = "\nPlease answer the question based on the above historical document information\n\n{}\nPlease return all documents related to the question\n"


class Greedy:
    """Tokens of a greedy decoding, the routing of its first step, and the smallest margin on the way."""

    def __init__(self):
        self.tokens, self.routing, self.margin = [], None, math.inf


def numbers(stored):
    """Tensors in float32; int8 is the product with the scale of its row (docs/format/model.md)."""
    scales = {name.removesuffix("_scale"): value.float() for name, value in stored.items() if name.endswith(".weight_scale")}
    return {name: value.float() * scales.get(name, 1) for name, value in stored.items() if not name.endswith(".weight_scale")}


class Reference:
    def __init__(self, folder):
        self.config = json.load(open(f"{folder}/config.json"))
        msa = self.config["msa_config"]
        self.weights = numbers(load_file(f"{folder}/model.safetensors"))
        self.tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
        self.num_layers, self.head_dim = self.config["num_hidden_layers"], self.config["head_dim"]
        self.num_heads, self.num_kv_heads = self.config["num_attention_heads"], self.config["num_key_value_heads"]
        self.router_layers = [int(layer) for layer in msa["router_layer_idx"].split(",")]
        self.chunk, self.top_k = msa["pooling_kernel_size"], msa["top_k_docs"]
        exponents = torch.arange(0, self.head_dim, 2).double() / self.head_dim
        self.frequency = self.config["rope_theta"] ** -exponents
        special = self.tokenizer.get_vocab()
        self.start, self.end, self.object_end = (special[f"<|{name}|>"] for name in ("im_start", "im_end", "object_ref_end"))

    # Text.

    def encode(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, tokens):
        return self.tokenizer.decode(tokens, skip_special_tokens=False)

    def question_tokens(self, question):
        return self.encode(QUESTION.format(question))

    def answer_prompt(self, question):
        return [self.start] + self.encode(f"The user's question is: {question}\n") + [self.object_end]

    # Layers; x is [T, hidden] throughout.

    def weight(self, layer, name):
        return self.weights[f"model.layers.{layer}.{name}.weight"]

    def norm(self, x, weight):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.config["rms_norm_eps"]) * weight

    def rotate(self, x, positions):
        angle = positions.double()[:, None] * self.frequency
        cosine, sine = angle.cos().float()[:, None], angle.sin().float()[:, None]
        first, second = x.chunk(2, -1)
        return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)

    def heads(self, layer, name, x):
        return (x @ self.weight(layer, f"self_attn.{name}").T).view(len(x), -1, self.head_dim)

    def projections(self, layer, normed, positions):
        q = self.norm(self.heads(layer, "q_proj", normed), self.weight(layer, "self_attn.q_norm"))
        k = self.norm(self.heads(layer, "k_proj", normed), self.weight(layer, "self_attn.k_norm"))
        return self.rotate(q, positions), self.rotate(k, positions), self.heads(layer, "v_proj", normed)

    def attend(self, q, k, v):
        """Own keys come last and are seen causally, those in front of them by all queries."""
        group = self.num_heads // self.num_kv_heads
        scores = torch.einsum("thd,jhd->htj", q, k.repeat_interleave(group, 1)) / math.sqrt(self.head_dim)
        is_seen = torch.ones(len(q), len(k), dtype=torch.bool).tril(len(k) - len(q))
        shares = scores.masked_fill(~is_seen, -math.inf).softmax(-1)
        return torch.einsum("htj,jhd->thd", shares, v.repeat_interleave(group, 1)).reshape(len(q), -1)

    def finish(self, layer, x, attended):
        x = x + attended @ self.weight(layer, "self_attn.o_proj").T
        normed = self.norm(x, self.weight(layer, "post_attention_layernorm"))
        gated = F.silu(normed @ self.weight(layer, "mlp.gate_proj").T) * (normed @ self.weight(layer, "mlp.up_proj").T)
        return x + gated @ self.weight(layer, "mlp.down_proj").T

    # Memory.

    def pool(self, rows):
        return torch.stack([part.mean(0) for part in rows.split(self.chunk)])

    def encode_document(self, number, text):
        """Pooled keys, values and unit routing keys [chunks, kv heads, head_dim] of every router layer."""
        tokens = [self.start] + self.encode(f"[{number}]. {text}[{number}]") + [self.end]
        x, positions, pooled = self.weights["model.embed_tokens.weight"][tokens], torch.arange(len(tokens)), {}
        for layer in range(self.num_layers):
            normed = self.norm(x, self.weight(layer, "input_layernorm"))
            q, k, v = self.projections(layer, normed, positions)
            if layer in self.router_layers:
                routing = self.pool(self.heads(layer, "router_k_proj.0", normed))
                pooled[layer] = self.pool(k), self.pool(v), F.normalize(routing, dim=-1)
            x = self.finish(layer, x, self.attend(q, k, v))
        return pooled

    def remember(self, documents):
        self.memory = {number: self.encode_document(number, text) for number, text in documents.items()}

    def route(self, layer, normed):
        """The best documents and their scores: mean over heads, largest over tokens, then over chunks."""
        q = F.normalize(self.heads(layer, "router_q_proj.0", normed), dim=-1)
        folded = q.view(len(q), self.num_kv_heads, -1, self.head_dim).sum(2).flatten(1) / self.num_heads
        scores = {number: float((folded @ pooled[layer][2].flatten(1).T).max()) for number, pooled in self.memory.items()}
        return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[: self.top_k]

    # Sequences.

    def forward(self, tokens, routed_rows=None, chosen=None, uses_memory=True, has_head=True):
        """Logits of every token, and the routing of each layer where `chosen` does not say it already."""
        embedding = self.weights["model.embed_tokens.weight"]
        head = [self.start] + self.encode("user\n") if has_head else []
        head_x, head_positions = embedding[head], torch.arange(len(head))
        x = embedding[tokens]
        positions = torch.arange(len(tokens)) + (len(head) + self.top_k if has_head else 0)
        routing = {}
        for layer in range(self.num_layers):
            normed = self.norm(x, self.weight(layer, "input_layernorm"))
            q, k, v = self.projections(layer, normed, positions)
            keys, values = [k], [v]
            if layer in self.router_layers and uses_memory:
                if chosen is None:
                    routing[layer] = self.route(layer, normed[routed_rows])
                numbers = [number for number, _ in routing[layer]] if chosen is None else chosen[layer]
                keys = [self.memory[number][layer][0] for number in numbers] + keys
                values = [self.memory[number][layer][1] for number in numbers] + values
            if has_head:
                head_q, head_k, head_v = self.projections(
                    layer, self.norm(head_x, self.weight(layer, "input_layernorm")), head_positions)
                keys, values = [head_k] + keys, [head_v] + values
                head_x = self.finish(layer, head_x, self.attend(head_q, head_k, head_v))
            x = self.finish(layer, x, self.attend(q, torch.cat(keys), torch.cat(values)))
        return self.norm(x, self.weights["model.norm.weight"]) @ embedding.T, routing

    def greedy(self, tokens, most, stops, routed_rows=None, chosen=None, uses_memory=True, has_head=True, until=None):
        out = Greedy()
        while len(out.tokens) < most:
            logits, routing = self.forward(tokens + out.tokens, routed_rows, chosen, uses_memory, has_head)
            if out.routing is None:
                out.routing = routing
            if chosen is None and uses_memory:
                chosen = {layer: [number for number, _ in pairs] for layer, pairs in routing.items()}
            best = logits[-1].topk(2)
            out.margin = min(out.margin, float(best.values[0] - best.values[1]))
            out.tokens.append(int(best.indices[0]))
            if out.tokens[-1] in stops or (until and self.decode(out.tokens).endswith(until)):
                break
        return out


# The kinds of golden lines.


def plain(reference, line):
    tokens = [reference.start] + reference.encode(line["prompt"].removeprefix("<|im_start|>"))
    out = reference.greedy(tokens, 24, {reference.end}, uses_memory=False, has_head=False)
    return {"prompt_tokens": tokens, "output": reference.decode(out.tokens), "output_tokens": out.tokens, "margin": round(out.margin, 4)}


def read_without_memory(reference, line):
    tokens = reference.question_tokens(line["question"]) + [reference.end] + reference.encode("\n") + [reference.start]
    tokens += reference.encode(f"[{line['id']}]") + [reference.object_end]
    tokens += reference.encode(f"[{line['id']}]. {line['text']}\n") + [reference.object_end]
    tokens += reference.answer_prompt(line["question"])
    out = reference.greedy(tokens, 32, {reference.end}, uses_memory=False)
    return {"tokens_after_head": tokens, "output": reference.decode(out.tokens), "output_tokens": out.tokens, "margin": round(out.margin, 4)}


def rounded(routing):
    return {str(layer): [[number, round(score, 5)] for number, score in pairs] for layer, pairs in routing.items()}


def memory(reference, line, documents):
    """Two rounds: ids, then their texts and the answer. In the second the question's last line end does not route."""
    question = reference.question_tokens(line["question"])
    rows = list(range(len(question)))
    prompt = question + [reference.end] + reference.encode("\n") + [reference.start]
    first = reference.greedy(prompt, 20, {reference.object_end}, rows)
    named = sorted({int(number) for number in re.findall(r"\[(\d+)\]", reference.decode(first.tokens))} & documents.keys())
    places = {str(layer): [number for number, _ in pairs] for layer, pairs in first.routing.items()}
    result = {
        "rank_of_gold": {layer: numbers.index(line["gold_document"]) + 1 if line["gold_document"] in numbers else 0
                         for layer, numbers in places.items()},
        "ids_text": reference.decode(first.tokens), "ids_tokens": first.tokens, "round1": rounded(first.routing),
        "round2": {}, "answer": None, "margin": round(first.margin, 4), "prompt_tokens": prompt}
    if not named:
        return result
    tokens = prompt + first.tokens
    begin = len(tokens)
    for number in named:
        tokens = tokens + reference.encode(f"[{number}]. {documents[number]}\n")
    rows = rows[:-1] + list(range(begin, len(tokens)))
    tokens = tokens + [reference.object_end]
    second = reference.greedy(tokens, 6, {reference.object_end, reference.end}, rows, until="<End-of-Retrieve>")
    chosen = {layer: [number for number, _ in pairs] for layer, pairs in second.routing.items()}
    answer = reference.greedy(tokens + second.tokens + reference.answer_prompt(line["question"]), 40, {reference.end}, chosen=chosen)
    return result | {
        "round2_text": reference.decode(second.tokens), "round2": rounded(second.routing),
        "answer": reference.decode(answer.tokens), "answer_tokens": answer.tokens,
        "margin": round(min(first.margin, second.margin, answer.margin), 4)}


def main():
    folder = sys.argv[1]
    torch.set_grad_enabled(False)
    reference = Reference(folder)
    documents = {line["id"]: line["text"] for line in map(json.loads, open(f"{folder}/golden_memory.jsonl"))}
    reference.remember(documents)
    for line in map(json.loads, sys.stdin):
        if line["kind"] == "memory":
            line |= memory(reference, line, documents)
        else:
            line |= {"plain": plain, "read_without_memory": read_without_memory}[line["kind"]](reference, line)
        print(json.dumps(line, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
