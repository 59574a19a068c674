#!/usr/bin/env python3
"""Our reader and writer of safetensors beside those of the package safetensors.

usage: safetensors_differential.py PEER [--files N] [--shapes N] [--seed N]

PEER is the program safetensors_peer. Files are made, then changed at random: both accept or both refuse each, but for the rules by which ours is
stricter (docs/reliability.md). And the package's files of every type and many shapes, read and written by us, are the same to the package, bit
for bit. Prints a line of counts; exit code 1 if a file made a difference, which is kept.
"""

import argparse
import json
import os
import random
import re
import struct
import subprocess
import sys

import safetensors

TYPES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4,
    "I64": 8, "U64": 8, "F64": 8,
}
NUMBERS = [
    "0", "1", "2", "3", "4", "7", "8", "9", "16", "-1", "-0", "1.0", "1e0", "255", "65536", "4294967296", "4611686018427387904",
    "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616", "null", "true", "\"1\"", "[]", "{}",
]
WORDS = [
    "dtype", "shape", "data_offsets", "__metadata__", "F32", "F33", "F4", "F6_E2M3", "F8_E8M0", "C64", "BF16", "a", "\\u0061", "\\ud800",
    "\\u0000",
]
# What the package accepts and we do not, each by its own message.
STRICTER = {
    "a key twice": r"stands twice in one object",
    "deeper than 4 levels": r"nested deeper than 4",
    "more than 8 sides": r"shape at most 8",
    "a type that is not in our list": r"has the unknown dtype \"(F4|F6_E2M3|F6_E3M2|F8_E8M0|F8_E4M3FNUZ|F8_E5M2FNUZ|C64)\"",
    "a tensor with other keys, or a list": r"must have exactly dtype, shape and data_offsets",
    "sides that overflow beside one of zero": r"its shape is larger than any file",
    "metadata that is null": r"__metadata__ must be an object of strings",
    "a header that does not begin with {": r"the header must begin with",
}


class Peer:
    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, request, file):
        self.process.stdin.write(request + struct.pack("<Q", len(file)) + file)
        self.process.stdin.flush()
        accepted = self.process.stdout.read(1)
        (length,) = struct.unpack("<Q", self.process.stdout.read(8))
        return accepted == b"\1", self.process.stdout.read(length)


def random_shape(draw, most):
    shape = []
    elements = 1
    for _ in range(draw.choice([0, 1, 1, 2, 2, 2, 3, 4, 8])):
        side = draw.choice([0, 1, 1, 2, 3, 5, 8, 17]) if draw.random() < 0.9 else draw.randrange(64)
        if elements * max(side, 1) > most:
            side = 1
        elements *= max(side, 1)
        shape.append(side)
    return shape


def count_of(shape):
    count = 1
    for side in shape:
        count *= side
    return count


def good_file(draw):
    header = {}
    if draw.random() < 0.4:
        header["__metadata__"] = {"format": "pt", "k": "v"}
    offset = 0
    for i in range(draw.choice([0, 1, 1, 2, 3, 5])):
        dtype = draw.choice(list(TYPES))
        shape = random_shape(draw, 64)
        size = count_of(shape) * TYPES[dtype]
        header[draw.choice(["t", "layers.", "\u00e4"]) + str(i)] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, ensure_ascii=draw.random() < 0.5, separators=draw.choice([(",", ":"), (", ", ": ")]))
    text += " " * draw.choice([0, 0, 1, 8])
    return text.encode(), draw.randbytes(offset)


def changed_header(draw, header):
    text = header.decode("utf-8", "surrogateescape")
    kind = draw.randrange(8)
    if kind <= 2:
        places = list(re.finditer(r"-?\d+", text))
        if places:
            place = draw.choice(places)
            number = draw.choice(NUMBERS)
            if draw.random() < 0.4:
                number = str(int(place[0]) + draw.randrange(-3, 4))
            text = text[: place.start()] + number + text[place.end():]
    elif kind == 3:
        places = list(re.finditer(r"\"[^\"]*\"", text))
        if places:
            place = draw.choice(places)
            text = text[: place.start()] + '"' + draw.choice(WORDS) + '"' + text[place.end():]
    elif kind == 4:  # a part moved or repeated
        borders = [m.start() for m in re.finditer(r"[{}\[\],:]", text)]
        if len(borders) > 2:
            first, end = sorted(draw.sample(borders, 2))
            to = draw.choice(borders)
            text = text[:to] + text[first:end] + text[to:]
    elif kind == 5:
        borders = [m.start() for m in re.finditer(r"[{}\[\],:]", text)]
        if len(borders) > 2:
            first, end = sorted(draw.sample(borders, 2))
            text = text[:first] + text[end:]
    elif kind == 6:
        place = draw.randrange(len(text) + 1)
        text = text[:place] + draw.choice([" ", "\n", "\t", "\0", "\x0b", "\ufeff", ",", "}", "[", "/**/", "\x1f"]) + text[place:]
    else:
        data = bytearray(header)
        if data:
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        return bytes(data)
    return text.encode("utf-8", "surrogateescape")


def changed_file(draw):
    header, data = good_file(draw)
    for _ in range(draw.choice([0, 1, 1, 1, 2, 3])):
        kind = draw.randrange(12)
        if kind == 0:
            data = data[: draw.randrange(len(data) + 1)]
        elif kind == 1:
            data += draw.randbytes(draw.randrange(1, 9))
        else:
            header = changed_header(draw, header)
    length = len(header)
    if draw.random() < 0.05:
        length = draw.choice([0, length + 1, max(length - 1, 0), length + len(data), 2**31, 2**63, 2**64 - 1, 100_000_001])
    file = struct.pack("<Q", length) + header + data
    return file[: draw.randrange(len(file))] if draw.random() < 0.02 else file


def package_accepts(file):
    try:
        safetensors.deserialize(file)
        return True, ""
    except Exception as error:  # its own type, or one of Python's for text
        return False, str(error)


def compare_files(peer, draw, count):
    both, neither, stricter, differences = 0, 0, {}, 0
    for _ in range(count):
        file = changed_file(draw)
        ours, why = peer.ask(b"c", file)
        theirs, their_why = package_accepts(file)
        if ours and theirs:
            both += 1
            continue
        if not ours and not theirs:
            neither += 1
            continue
        message = why.decode("utf-8", "replace")
        rule = next((name for name, pattern in STRICTER.items() if theirs and re.search(pattern, message)), None)
        if rule:
            stricter[rule] = stricter.get(rule, 0) + 1
            continue
        differences += 1
        if differences <= 10:
            kept = f"difference{differences}.safetensors"
            with open(kept, "wb") as out:
                out.write(file)
            print(f"FAILED {os.path.abspath(kept)}: ours {'accepts' if ours else message}, the package {'accepts' if theirs else their_why}")
    return both, neither, stricter, differences


def compare_values(peer, draw, num_shapes):
    differences = files = 0
    for dtype, size in TYPES.items():
        for _ in range(num_shapes):
            header, data, offset = {}, b"", 0
            for name in "ab"[: draw.choice([1, 2])]:
                shape = random_shape(draw, 4096)
                num_bytes = count_of(shape) * size
                header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + num_bytes]}
                offset += num_bytes
                data += draw.randbytes(num_bytes)
            text = json.dumps(header).encode()
            file = struct.pack("<Q", len(text)) + text + data
            wanted = sorted((name, values["dtype"], values["shape"], bytes(values["data"])) for name, values in safetensors.deserialize(file))
            accepted, copy = peer.ask(b"r", file)
            files += 1
            found = None
            if accepted:
                found = sorted((name, v["dtype"], v["shape"], bytes(v["data"])) for name, v in safetensors.deserialize(copy))
            if found != wanted:
                differences += 1
                print(f"FAILED {dtype} {header}: {'other values' if accepted else copy.decode()}")
    return files, differences


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("peer")
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--shapes", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    peer = Peer(options.peer)
    both, neither, stricter, differences = compare_files(peer, draw, options.files)
    files, wrong = compare_values(peer, draw, options.shapes)
    rules = ", ".join(f"{name} {count}" for name, count in sorted(stricter.items())) or "none"
    print(f"safetensors {safetensors.__version__}, seed {options.seed}: {options.files} changed files: {both} accepted by both, {neither} by none; "
          f"by us alone refused: {rules}; {differences} differences. {len(TYPES)} types in {files} files read and written: {wrong} differences")
    return 1 if differences or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
