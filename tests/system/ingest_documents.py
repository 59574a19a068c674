"""A thousand documents for `msa ingest`, good ones and bad ones of every kind, and what must become of each of them in a run."""

import json
import os
import random
import struct
from dataclasses import dataclass

NUM_DOCUMENTS = 1000
BELL = "\a"  # a token that the broken model cannot encode
MAX_LINE_BYTES = 64 << 20

# Lines that are no document, and the code of each.
BAD_LINES = [
    (b"no json", "invalid_format"),
    (b'{"id":"cut","text":"no end', "invalid_format"),
    (b"[1, 2]", "invalid_format"),
    (b'"text"', "invalid_format"),
    (b'{"id":"no text"}', "invalid_format"),
    (b'{"id":"a number","text":7}', "invalid_format"),
    (b'{"id":"no value","text":null}', "invalid_format"),
    (b'{"id":"blank","text":" \\t\\n "}', "invalid_format"),
    (b'{"id":"empty","text":""}', "invalid_format"),
    (b'{"id":"bad byte","text":"bad \xff byte"}', "invalid_format"),
    (b'{"id":"surrogate","text":"\xed\xa0\x80"}', "invalid_format"),
    (b'{"id":"too long a form","text":"\xc0\xaf"}', "invalid_format"),
    (b'{"id":"half a letter","text":"\xe4\xb8"}', "invalid_format"),
    (b'{"id":"escaped surrogate","text":"\\ud800"}', "invalid_format"),
    (b'{"id":"twice","text":"one","text":"two"}', "invalid_format"),
    (b'{"id":"zero","text":"a"\x00}', "invalid_format"),
    (b'{"id":1.5,"text":"a"}', "invalid_format"),
    (b'{"id":[],"text":"a"}', "invalid_format"),
    (b'{"id":"","text":"a"}', "invalid_format"),
    (b'{"id":true,"text":"a"}', "invalid_format"),
    (b'{"id":"title","title":3,"text":"a"}', "invalid_format"),
    (b'{"id":"behind","text":"a"} more', "invalid_format"),
    (b'{"id":"large","text":"a","n":1e400}', "invalid_format"),
    (b'{"id":"deep","text":"a","n":' + b"[" * 70 + b"]" * 70 + b"}", "limit"),
]


def content_of(document):
    """What must differ for two documents of one name to be two."""
    return document.title, document.text, json.dumps(json.loads(document.attributes), sort_keys=True)


@dataclass(frozen=True)
class Document:
    """What is given: a document if it has a text, else something that is none, and its code."""
    file: str
    line: int
    name: str = ""
    title: str = ""
    text: str = ""
    attributes: str = "{}"
    code: str = ""
    is_early: bool = False  # reported before anything is read
    is_long: bool = False  # the file is read in two pieces, and the second one begins within it

    def content(self):
        return content_of(self)


@dataclass(frozen=True)
class Event:
    """What becomes of a document: `store`, `replace`, `skip` or `fail`."""
    kind: str
    document: Document
    code: str = ""
    is_repeat: bool = False  # of a document of the same run: decided with the last of a batch, not when it is read

    def place(self):
        return self.document.file, self.document.line, self.code


def events_of(documents, held, replaces):
    """All events of a run that nothing stops, in order. `held`: name to content before it."""
    held = dict(held)
    before, seen, failed, events = set(held), set(), {}, []
    for document in documents:
        if document.code:
            events.append(Event("fail", document, document.code))
            continue
        came_before = document.name in seen
        seen.add(document.name)
        is_held = document.name in held
        if is_held and held[document.name] == document.content():
            events.append(Event("skip", document, is_repeat=document.name not in before or came_before))
        elif failed.get(document.name) == document.content():
            events.append(Event("fail", document, "internal", is_repeat=True))
        elif document.name in failed or is_held and (came_before or not replaces):
            events.append(Event("fail", document, "invalid_argument"))
        elif BELL in document.text:
            events.append(Event("fail", document, "internal"))
            failed[document.name] = document.content()
        else:
            events.append(Event("replace" if is_held else "store", document))
            held[document.name] = document.content()
    return events


def zstd_frame(*blocks):
    """Blocks as they are, or (byte, count), without compression; each below 128 KiB."""
    parts = [b"\x28\xb5\x2f\xfd", b"\x00\x58"]  # magic, no size, a window of 2 MiB
    for number, block in enumerate(blocks):
        is_last = number + 1 == len(blocks)
        size, kind, data = (block[1], 1, block[0]) if isinstance(block, tuple) else (len(block), 0, block)
        parts += [struct.pack("<I", is_last | kind << 1 | size << 3)[:3], data]
    return b"".join(parts)


class Inputs:
    """A folder of inputs and the documents in it, in the order in which they are read."""

    def __init__(self, folder, seed):
        self.folder = folder
        self.draw = random.Random(seed)
        self.early = []  # what is no file to read: in the order of the walk
        self.read = []
        self.num_given = 0
        folder.mkdir()
        self.make()

    def documents(self):
        return [*self.early, *self.read]

    def make(self):
        self.add_texts(self.folder / "a_texts")
        self.add_lines("b_lines.jsonl", 300)
        self.add_lines("c_lines.jsonl.zst", 200)
        self.add_cut_file("d_cut.jsonl.zst")
        self.add_file("e_damaged.txt.zst", zstd_frame(b"text")[:-2], code="invalid_format")
        self.add_file("f_no_zstd.jsonl.zst", b"no zstd", code="invalid_format", line=1)
        self.add_file("g_empty.md.zst", b"", code="invalid_format")
        self.add_lines("h_lines.jsonl", 250, long_line_at=120)
        self.add_link("i_nowhere.txt", self.folder / "nowhere", "io")
        self.add_link("j_again", self.folder / "a_texts", "invalid_format")
        os.mkfifo(self.folder / "k_pipe.txt")
        self.fail_early(self.folder / "k_pipe.txt", "invalid_format")
        (self.folder / ".hidden.txt").write_bytes(b"Left out, as the manual says.")
        unknown = self.folder / "l_program.py"  # one report for all of a kind, after the walk
        for path in (unknown, self.folder / "m_program.py"):
            path.write_bytes(b"print()")
        self.add_lines("y_lines.jsonl", NUM_DOCUMENTS - len(self.documents()) - 3)
        self.add_long_lines("z_long.jsonl.zst")
        self.fail_early(unknown, "invalid_format")

    def fail_early(self, path, code):
        self.early.append(Document(str(path), 0, code=code, is_early=True))

    def add_link(self, name, target, code):
        (self.folder / name).symlink_to(target)
        self.fail_early(self.folder / name, code)

    def add_file(self, name, data, *, text="", title="", code="", line=0):
        path = self.folder / name
        path.write_bytes(data)
        self.read.append(Document(str(path), line, "" if code else str(path), title, text, code=code))

    def add_texts(self, folder):
        folder.mkdir()
        for number in range(30):
            text = self.text()
            name = f"a_texts/{number:03}"
            kind = number % 10
            if kind == 0:
                self.add_file(f"{name}.md", f"\ufeff# Title {number} #\n\n{text}".encode(), title=f"Title {number}",
                              text=f"# Title {number} #\n\n{text}")
            elif kind == 1:
                self.add_file(f"{name}.txt", b"one\ntwo \xc3\x28", code="invalid_format", line=2)
            elif kind == 2:
                self.add_file(f"{name}.txt", [b"", b"\xef\xbb\xbf", b" \n\t\r\n"][number // 10], code="invalid_format")
            elif kind == 3:
                self.add_file(f"{name}.txt", (text + BELL).encode(), text=text + BELL)
            elif kind == 4:
                self.add_file(f"{name}.txt.zst", zstd_frame(text.encode()), text=text)
            else:
                self.add_file(f"{name}.txt", text.encode(), text=text)

    def text(self):
        words = [self.draw.choice(["rain", "tea", "rivers", "stone", "\u00e9t\u00e9", "\u6f22\u5b57", "\U0001f600"])
                 for _ in range(self.draw.randint(1, 4))]
        # Some have several passages.
        return (" ".join(words) + ". ") * self.draw.choice([1, 1, 1, 1, 5]) + f"No. {self.draw.randint(0, 10**9)}"

    def line(self, file, number, place):
        """One line of a file, and its document."""
        good = [document for document in self.read if document.text and document.line]
        kind = self.draw.random()
        if kind < 0.08 and good:  # the same once more
            again = self.draw.choice(good)
            return self.json_of(again.name, again), Document(file, place, again.name, again.title, again.text, again.attributes)
        if kind < 0.13 and good:  # another one of that name
            other = self.draw.choice(good)
            document = Document(file, place, other.name, "", self.text())
        elif kind < 0.28:
            line, code = self.draw.choice(BAD_LINES)
            return line, Document(file, place, code=code)
        else:
            is_bad = self.draw.random() < 0.06
            attributes = json.dumps({"n": number, "kind": self.draw.choice(["a", "\u00e4", None])}, ensure_ascii=False)
            name = "" if self.draw.random() < 0.1 else str(number) if number % 5 == 0 else f"d{number} \u00fc"
            title = self.draw.choice(["", f"Title {number}"])
            # Some are bad in their last passage alone.
            text = self.text() + (self.draw.choice(["", " " + self.text()]) + BELL if is_bad else "")
            document = Document(file, place, name or f"{file}:{place}", title, text, attributes)
            return self.json_of(name, document), document
        return self.json_of(document.name, document), document

    def json_of(self, name, document):
        attributes = json.loads(document.attributes)
        value = {"title": document.title, "text": document.text, **attributes}
        if name:
            value["id"] = int(name) if name.isdigit() else name
        return json.dumps(value, ensure_ascii=self.draw.random() < 0.5).encode()

    def add_lines(self, name, count, long_line_at=0):
        file = str(self.folder / name)
        lines = []
        for number in range(count):
            if self.draw.random() < 0.03:
                lines.append(self.draw.choice([b"", b" \t "]))  # blank: no document
            place = len(lines) + 1
            if number + 1 == long_line_at:  # so that the file is read in two pieces
                line, document = b"no json " * 40000, Document(file, place, code="invalid_format", is_long=True)
            else:
                line, document = self.line(file, len(self.read), place)
            lines.append(line)
            self.read.append(document)
        data = b"\xef\xbb\xbf" + lines[0] + b"\n" + b"\r\n".join(lines[1:])  # the last line has no end
        if name.endswith(".zst"):
            data = zstd_frame(*(data[at:at + 5000] for at in range(0, len(data), 5000)))
        (self.folder / name).write_bytes(data)

    def add_cut_file(self, name):
        """Whole lines in the first block, of the second one nothing."""
        file = str(self.folder / name)
        documents = [Document(file, line, f"{file}:{line}", "", self.text()) for line in range(1, 6)]
        block = b"".join(self.json_of("", document) + b"\n" for document in documents)
        (self.folder / name).write_bytes(zstd_frame(block, b"{}")[:-4])
        self.read += [*documents, Document(file, 6, code="invalid_format")]

    def add_long_lines(self, name):
        """A line that is longer than any may be, and one behind it."""
        file = str(self.folder / name)
        block = (b"a", 128 << 10)
        last = Document(file, 2, "behind a long line", "", self.text())
        (self.folder / name).write_bytes(zstd_frame(
            b'{"text":"', *[block] * (MAX_LINE_BYTES // block[1] + 1), b'"}\n', self.json_of(last.name, last)))
        self.read += [Document(file, 1, code="limit"), last]
