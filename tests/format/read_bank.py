"""Reads a bank and checks all that docs/format/bank.md lets a reader check. It was written from that page alone and shares nothing
with the program, so that the page is enough to read a bank by. Standard library only; slow, for small banks.

usage: read_bank.py BANK...   one line for each bank that is whole
"""

import json
import sqlite3
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

from xxh3_128 import xxh3_128

BLOCK_BYTES = 256 << 10
TABLES = {
    "facts": ("key TEXT PRIMARY KEY, value TEXT NOT NULL, digest BLOB NOT NULL", "key"),
    "segments": ("id INTEGER PRIMARY KEY, file TEXT NOT NULL UNIQUE, passages INTEGER NOT NULL, chunks INTEGER NOT NULL, "
                 "tokens INTEGER NOT NULL, bytes INTEGER NOT NULL, table_digest BLOB NOT NULL, digest BLOB NOT NULL", "id"),
    "documents": ("id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, title TEXT NOT NULL, text TEXT NOT NULL, "
                  "attributes TEXT NOT NULL, source TEXT NOT NULL, content BLOB NOT NULL, digest BLOB NOT NULL", "id"),
    "passages": ("id INTEGER PRIMARY KEY, document INTEGER NOT NULL REFERENCES documents(id), start INTEGER NOT NULL, "
                 "end INTEGER NOT NULL, tokens INTEGER NOT NULL, chunks INTEGER NOT NULL, "
                 "segment INTEGER NOT NULL REFERENCES segments(id), digest BLOB NOT NULL", "id"),
}
INDEX = "CREATE INDEX passages_by_document ON passages(document)"
ELEMENT_BYTES = {"I64": 8, "F32": 4, "BF16": 2, "I8": 1, "U8": 1}
KEY_TENSOR = {"f32": "F32", "bf16": "BF16", "int8": "I8"}
CONTENT_TENSOR = {"f32": "F32", "bf16": "BF16", "int8": "I8", "int4": "U8"}
INT4_GROUP = 32


class BadBank(Exception):
    pass


def check(holds: bool, *message: object) -> None:
    if not holds:
        raise BadBank(" ".join(map(str, message)))


def counted(data: bytes) -> bytes:
    return struct.pack("<q", len(data)) + data


def row_digest(values: list) -> bytes:
    parts = (struct.pack("<q", value) if isinstance(value, int) else counted(value.encode() if isinstance(value, str) else value)
             for value in values)
    return xxh3_128(b"".join(parts))


def up_to_16(size: int) -> int:
    return -(-size // 16) * 16


def bfloat16s(data: bytes) -> list[float]:
    words = struct.unpack(f"<{len(data) // 2}H", data)
    return list(struct.unpack(f"<{len(words)}f", struct.pack(f"<{len(words)}I", *(word << 16 for word in words))))


def floats(data: bytes, dtype: str) -> list[float]:
    return bfloat16s(data) if dtype == "BF16" else list(struct.unpack(f"<{len(data) // 4}f", data))


@dataclass(frozen=True)
class Shape:
    """L router layers, G kv heads, D values a head."""
    layers: int
    kv_heads: int
    head_dim: int
    content_type: str

    @property
    def dim(self) -> int:
        return self.kv_heads * self.head_dim

    def integer_bytes(self) -> int:
        return up_to_16(self.dim if self.content_type == "int8" else -(-self.dim // 2))

    def scales(self) -> int:
        return self.kv_heads if self.content_type == "int8" else -(-self.dim // INT4_GROUP)

    def row_bytes(self) -> int:
        plain = {"f32": 4 * self.dim, "bf16": 2 * self.dim}
        return plain.get(self.content_type) or self.integer_bytes() + up_to_16(2 * self.scales())

    def row(self, data: bytes) -> list[float]:
        if self.content_type in ("f32", "bf16"):
            return floats(data, CONTENT_TENSOR[self.content_type])
        start, scales = self.integer_bytes(), self.scales()
        scale = bfloat16s(data[start:start + 2 * scales])
        if self.content_type == "int8":
            group, used, integers = self.head_dim, self.dim, list(struct.unpack_from(f"<{self.dim}b", data))
            check(min(integers) >= -127, "an int8 value of -128")
        else:
            group, used = INT4_GROUP, -(-self.dim // 2)
            halves = [half for byte in data[:used] for half in (byte & 15, byte >> 4)]
            check(not any(halves[self.dim:]), "int4 row: not zero after its values")
            integers = [half - 16 if half >= 8 else half for half in halves[:self.dim]]
        check(not any(data[used:start]) and not any(data[start + 2 * scales:]), "row: not zero after its values")
        # Eight bits times eight are exact in a float32.
        return [value * scale[at // group] for at, value in enumerate(integers)]


class Segment:
    """A segment file. Its blocks' digests, header and shapes are checked when it is read."""

    def __init__(self, path: Path, row: dict, shape: Shape, facts: dict):
        self.path, self.shape, self.key_type = path, shape, facts["key_type"]
        self.data = path.read_bytes()
        check(len(self.data) == row["bytes"], path, "size")
        self.check_blocks(row["table_digest"])
        size = struct.unpack_from("<Q", self.data)[0]
        header = json.loads(self.data[8:8 + size])
        metadata = header.pop("__metadata__")
        check(metadata == {"format": "msa-segment-1", "model_fingerprint": facts["model_fingerprint"],
                           "chunk_tokens": facts["chunk_tokens"]}, path, "metadata", metadata)
        self.base, self.tensors = 8 + size, header
        passages, chunks = row["passages"], row["chunks"]
        check(self.integers("first_chunk", passages + 1)[0] == 0, path, "first_chunk")
        self.first_chunk = self.integers("first_chunk", passages + 1)
        self.passage_id = self.integers("passage_id", passages)
        check(self.first_chunk[-1] == chunks and sorted(set(self.first_chunk)) == self.first_chunk, path, "first_chunk")
        check(sorted(set(self.passage_id)) == self.passage_id, path, "passage_id")
        self.check_tensors(passages, chunks)

    def check_blocks(self, table_digest: bytes) -> None:
        size = len(self.data)
        blocks = next(n for n in range(1, size // BLOCK_BYTES + 2) if -(-(size - 16 * n) // BLOCK_BYTES) == n)
        self.table = size - 16 * blocks
        check(xxh3_128(self.data[self.table:]) == table_digest, self.path, "digest of the table")
        for n in range(blocks):
            block = self.data[n * BLOCK_BYTES:min((n + 1) * BLOCK_BYTES, self.table)]
            check(xxh3_128(block) == self.data[self.table + 16 * n:self.table + 16 * (n + 1)], self.path, "block", n)
        self.blocks = blocks

    def check_tensors(self, passages: int, chunks: int) -> None:
        layers, dim = self.shape.layers, self.shape.dim
        content = CONTENT_TENSOR[self.shape.content_type]
        rows = 2 * layers * chunks
        wanted = {"first_chunk": ("I64", [passages + 1]), "passage_id": ("I64", [passages])}
        if self.key_type == "int8":
            wanted["routing_scale"] = ("F32", [layers, chunks])
        wanted["routing_key"] = (KEY_TENSOR[self.key_type], [layers, chunks, dim])
        in_heads = [rows, self.shape.kv_heads, self.shape.head_dim]
        wanted["content"] = (content, in_heads if content in ("F32", "BF16") else [rows, self.shape.row_bytes()])
        wanted["block_digests"] = ("U8", [self.blocks, 16])
        check(set(self.tensors) == set(wanted), self.path, "tensors", sorted(self.tensors))
        end = 0
        for name, (dtype, dims) in wanted.items():
            tensor, size = self.tensors[name], ELEMENT_BYTES[dtype]
            for dim in dims:
                size *= dim
            check(tensor == {"dtype": dtype, "shape": dims, "data_offsets": [end, end + size]}, self.path, name, tensor)
            end += size
        check(self.base + end == len(self.data), self.path, "bytes after the tensors")

    def bytes_of(self, name: str) -> bytes:
        start, end = self.tensors[name]["data_offsets"]
        return self.data[self.base + start:self.base + end]

    def integers(self, name: str, count: int) -> list[int]:
        return list(struct.unpack(f"<{count}q", self.bytes_of(name)))

    def place(self, passage: int) -> int:
        check(passage in self.passage_id, self.path, "has no passage", passage)
        return self.passage_id.index(passage)

    def keys(self, passage: int) -> list[list[list[float]]]:
        """[L][chunks of the passage][F]."""
        place, dim, chunks = self.place(passage), self.shape.dim, self.first_chunk[-1]
        dtype = KEY_TENSOR[self.key_type]
        size = ELEMENT_BYTES[dtype] * dim
        data = self.bytes_of("routing_key")
        scales = self.bytes_of("routing_scale") if dtype == "I8" else b""

        def key(layer: int, chunk: int) -> list[float]:
            at = layer * chunks + chunk
            raw = data[at * size:(at + 1) * size]
            if dtype != "I8":
                return floats(raw, dtype)
            scale = struct.unpack_from("<f", scales, 4 * at)[0]
            exact = [scale * value for value in struct.unpack(f"<{dim}b", raw)]
            return list(struct.unpack(f"<{dim}f", struct.pack(f"<{dim}f", *exact)))

        own = range(self.first_chunk[place], self.first_chunk[place + 1])
        return [[key(layer, chunk) for chunk in own] for layer in range(self.shape.layers)]

    def content(self, passage: int) -> list[list[tuple[list[float], list[float]]]]:
        """[L][chunks of the passage](K, V), each [G * D]."""
        place, size, layers = self.place(passage), self.shape.row_bytes(), self.shape.layers
        first, end = self.first_chunk[place], self.first_chunk[place + 1]
        data = self.bytes_of("content")[2 * layers * first * size:2 * layers * end * size]
        rows = [self.shape.row(data[at:at + size]) for at in range(0, len(data), size)]
        pairs = list(zip(rows[::2], rows[1::2]))
        return [pairs[layer * (end - first):(layer + 1) * (end - first)] for layer in range(layers)]


class Bank:
    """A bank that no log stands beside. Every row and block is checked when it is read; nothing is written."""

    def __init__(self, folder: Path):
        self.folder = folder
        log = folder / "catalog.db-wal"
        check(not log.exists() or log.stat().st_size == 0, log, "holds changes: let the program open the bank once")
        # "immutable": SQLite makes no files beside the database.
        database = sqlite3.connect(f"{(folder / 'catalog.db').as_uri()}?mode=ro&immutable=1", uri=True)
        database.row_factory = sqlite3.Row
        try:
            self.check_tables(database)
            self.rows = {table: self.read_table(database, table) for table in TABLES}
        finally:
            database.close()
        self.facts = {row["key"]: row["value"] for row in self.rows["facts"].values()}
        self.format = int(self.facts["format"])
        check(1 <= self.format <= 3, "format", self.format)
        self.shape = Shape(*(int(self.facts[name]) for name in ("router_layers", "kv_heads", "head_dim")),
                           self.facts["content_type"])
        self.segments = {number: Segment(folder / "segments" / row["file"], row, self.shape, self.facts)
                         for number, row in self.rows["segments"].items()}
        self.check_facts()
        self.check_references()

    def check_tables(self, database: sqlite3.Connection) -> None:
        wanted = {f"CREATE TABLE {name} ({columns}) STRICT" for name, (columns, _) in TABLES.items()} | {INDEX}
        found = {"".join(row["sql"].split()) for row in database.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")}
        check(found == {"".join(sql.split()) for sql in wanted}, "tables", found)

    def read_table(self, database: sqlite3.Connection, table: str) -> dict:
        key = TABLES[table][1]
        rows = {}
        for row in database.execute(f"SELECT * FROM {table} ORDER BY {key}"):
            *values, digest = tuple(row)
            check(row_digest(values) == digest, "row of", table, row[key])
            rows[row[key]] = dict(row)
        return rows

    def check_facts(self) -> None:
        facts, rows = self.facts, self.rows
        quantised = facts["content_type"] in ("int8", "int4")
        check(self.format == 3 or self.format == (2 if quantised else 1), "format", self.format, facts["content_type"])
        check(facts["key_type"] in KEY_TENSOR, "key_type", facts["key_type"])
        check(int(facts["next_passage_id"]) > max(rows["passages"], default=0), "next_passage_id")
        check(int(facts.get("next_segment", 1 << 62)) > max(rows["segments"], default=0), "next_segment")
        if self.format == 3:
            check(int(facts["next_document"]) > max(rows["documents"], default=0), "next_document")
            check(int(facts["generation"]) >= 2, "generation")
            for table in ("documents", "passages"):
                check(int(facts[table]) == len(rows[table]), "fact", table)

    def check_references(self) -> None:
        places: dict = {}
        for number, row in self.rows["passages"].items():
            document, segment = self.rows["documents"].get(row["document"]), self.segments.get(row["segment"])
            check(document is not None and segment is not None, "passage", number, "refers to nothing")
            check(0 <= row["start"] <= row["end"] <= len(document["text"].encode()), "passage", number, "is outside of its text")
            place = segment.place(number)
            check(segment.first_chunk[place + 1] - segment.first_chunk[place] == row["chunks"], "passage", number, "chunks")
            check(row["chunks"] == -(-row["tokens"] // int(self.facts["chunk_tokens"])), "passage", number, "tokens a chunk")
            places.setdefault(row["segment"], []).append(number)
        check(set(places) == set(self.segments), "segments without a passage")
        order = sorted(places.values())
        check([number for group in order for number in group] == list(self.rows["passages"]), "segments overlap")
        for number, row in self.rows["segments"].items():
            check(row["file"] == f"{number:06d}.msa", "file of segment", number)
            if self.format < 3:
                check(places[number] == self.segments[number].passage_id, "segment", number, "passages")
                tokens = sum(self.rows["passages"][passage]["tokens"] for passage in places[number])
                check(tokens == row["tokens"], "segment", number, "tokens")
        for number, row in self.rows["documents"].items():
            content = counted(row["title"].encode()) + counted(row["text"].encode())
            check(xxh3_128(content) == row["content"], "content of document", number)
            check(isinstance(json.loads(row["attributes"]), dict), "attributes of document", number)


def main() -> int:
    for folder in sys.argv[1:]:
        bank = Bank(Path(folder).resolve())
        chunks = sum(row["chunks"] for row in bank.rows["passages"].values())
        for number, row in bank.rows["passages"].items():
            bank.segments[row["segment"]].keys(number)
            bank.segments[row["segment"]].content(number)
        print(f"{folder}: format {bank.format}, {len(bank.rows['documents'])} documents, {len(bank.rows['passages'])} passages, "
              f"{chunks} chunks, {bank.facts['key_type']} keys, {bank.facts['content_type']} content")
    return 0


if __name__ == "__main__":
    sys.exit(main())
