"""The independent reader and the program read the same from the banks of every format in tests/data and from new ones; and the
reader refuses a bank when any one byte that a digest covers is another.

usage: read_bank_test.py BANK_VALUES SOURCE_FOLDER
"""

import json
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from read_bank import BadBank, Bank
from xxh3_128 import xxh3_128

KNOWN_DIGESTS = {  # of the first bytes of b"0123456789" * 205: from the library, one for each way in which lengths are treated
    0: "99aa06d3014798d86001c324468d497f",
    1: "ce8f15881282a4001982e3a7bb241055",
    3: "93aec821685cebc18ed2b2f360965d90",
    4: "e7f00c8d576b45ee824b77d5917b737b",
    8: "647579ea30e43a75f455a8e446810217",
    9: "7ed631159e915ea8e23a7f36c9118966",
    16: "0cee8790d00e20d602cd2cf2f8106579",
    17: "fcf0446565af98b2d99e120f29eb2c61",
    32: "a7e6c59c8cc00fba986394f7381dbda1",
    33: "82f5afd9b55f8c17a843cbd4addff935",
    128: "56dff7559d5811f4641c7f4e2d805d60",
    129: "18a2a06f270418cd33260dfe90e8d890",
    240: "8eefe86fdb1b9e1e2262f4d2eaf15aea",
    241: "8b8be89226108c58367d0ce95644ade5",
    1024: "75f5ec2b93ebcb36f7158a3b78202e84",
    1025: "ccb1c607ccdef3225133c7904c99fe38",
    2050: "fc44cf6b76d6fb6353ecba5ee63b8494",
}


def hex_of(values: list[float]) -> str:
    return struct.pack(f"<{len(values)}f", *values).hex()


def compare(bank: Bank, lines: list[str]) -> int:
    """Returns how many values of keys and content were compared."""
    assert len(lines) == len(bank.rows["passages"])
    num_values = 0
    for line, (number, row) in zip(lines, bank.rows["passages"].items()):
        other = json.loads(line)
        document = bank.rows["documents"][row["document"]]
        for name in ("id", "start", "end", "tokens", "chunks", "segment", "document"):
            assert other[name] == row[name], (number, name)
        for name in ("name", "title", "text", "attributes", "source"):
            assert other[name] == document[name], (number, name)
        segment, heads = bank.segments[row["segment"]], bank.shape.kv_heads
        for layer, rows in enumerate(segment.content(number)):
            for which, name in enumerate(("key", "value")):
                values = [value for pair in rows for value in pair[which]]
                assert other[name][layer] == hex_of(values), (number, name, layer)
                num_values += len(values)
        for layer, keys in enumerate(segment.keys(number)):
            bounds = [bound(column) / heads for bound in (max, min) for column in zip(*keys)]
            # No sign of zero: scores are sums.
            assert hex_of([value + 0.0 for value in bounds]) == hex_of(
                [value + 0.0 for value in struct.unpack(f"<{len(bounds)}f", bytes.fromhex(other["routing"][layer]))]), (number, layer)
            num_values += len(bounds)
    return num_values


def is_refused(folder: Path) -> bool:
    try:
        Bank(folder)
    except (BadBank, ValueError, KeyError, struct.error, sqlite3.Error):
        return True
    return False


def check_changes(golden: Path, folder: Path, draw: random.Random) -> int:
    """Changes one bit at a time of every segment, and one value of every row."""
    num_changes = 0
    for path in sorted((golden / "segments").iterdir()):
        data = path.read_bytes()
        for at in draw.sample(range(len(data)), 24):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(golden, folder)
            changed = bytearray(data)
            changed[at] ^= 1 << draw.randrange(8)
            (folder / "segments" / path.name).write_bytes(changed)
            assert is_refused(folder), (path, at)
            num_changes += 1
    for table, column in (("facts", "value"), ("segments", "tokens"), ("documents", "text"), ("passages", "tokens")):
        shutil.rmtree(folder)
        shutil.copytree(golden, folder)
        with sqlite3.connect(folder / "catalog.db") as database:
            database.execute("PRAGMA journal_mode = DELETE")
            database.execute(f"UPDATE {table} SET {column} = {column} || '1' WHERE rowid = (SELECT max(rowid) FROM {table})")
        database.close()
        assert is_refused(folder), table
        num_changes += 1
    return num_changes


def main() -> int:
    program, source = sys.argv[1], Path(sys.argv[2])
    digits = b"0123456789" * 205
    for size, digest in KNOWN_DIGESTS.items():
        assert xxh3_128(digits[:size]).hex() == digest, size
    seed = 20261129
    print(f"seed {seed}")
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as temporary:
        copies = []
        for golden in sorted((source / "tests" / "data").glob("bank_format_*")):
            copies.append(Path(temporary) / golden.name)
            shutil.copytree(golden, copies[-1])
        assert len(copies) >= 4, copies
        for key_type, content_type in (("f32", "f32"), ("int8", "int4")):
            copies.append(Path(temporary) / f"new_{key_type}_{content_type}")
            subprocess.run([program, "--make", copies[-1], key_type, content_type], check=True)
        for folder in copies:
            bank = Bank(folder)
            lines = subprocess.run([program, folder], check=True, capture_output=True, text=True).stdout.splitlines()
            blocks = max(segment.blocks for segment in bank.segments.values())
            print(f"{folder.name}: format {bank.format}, {len(lines)} passages, up to {blocks} blocks a segment, "
                  f"{compare(bank, lines)} values equal")
        num_changes = sum(check_changes(golden, Path(temporary) / "changed", draw)
                          for golden in sorted((source / "tests" / "data").glob("bank_format_*")))
        print(f"{num_changes} changes refused")
    return 0


if __name__ == "__main__":
    sys.exit(main())
