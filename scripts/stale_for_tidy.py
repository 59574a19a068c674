#!/usr/bin/env python3
"""Prints which sources clang-tidy has to look at: "STAMP SOURCE" a line, where STAMP is the file to touch once the source is found good.

The stamp's name is a digest of all that clang-tidy would read: its version and rules, the compiler's command, and every header that the last
build of the source read (its content within the project, its path outside). So a second checkout on a machine has nothing to look at again.

usage: stale_for_tidy.py CLANG_TIDY STAMPS SOURCE...
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "release"


def headers_by_source() -> dict[Path, list[Path]]:
    """As ninja keeps them of the last build."""
    log = subprocess.run(["ninja", "-C", BUILD, "-t", "deps"], capture_output=True, text=True, check=True).stdout
    headers = {}
    read: list[Path] = []
    for line in log.splitlines():
        if not line.startswith("    "):
            read = []
        elif not read:
            read.append((BUILD / line.strip()).resolve())
            headers[read[0]] = read
        else:
            read.append((BUILD / line.strip()).resolve())
    return headers


def main() -> None:
    tidy, stamps, sources = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    commands = {Path(entry["file"]): entry["command"] for entry in json.loads((BUILD / "compile_commands.json").read_text())}
    headers = headers_by_source()
    contents: dict[Path, str] = {}

    def of_file(path: Path) -> str:
        if not path.is_relative_to(ROOT):
            return str(path)
        if path not in contents:
            contents[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        return f"{path.relative_to(ROOT)} {contents[path]}"

    rules = (ROOT / ".clang-tidy").read_text() + (ROOT / "scripts" / "tidy.sh").read_text() + str(tidy)
    for source in sources:
        path = (ROOT / source).resolve()
        command = commands.get(path, "").replace(str(ROOT), "")
        read = sorted(of_file(header) for header in headers.get(path, []))
        key = hashlib.sha256("\n".join([rules, command, *read]).encode()).hexdigest()
        if not read or not (stamps / key).exists():
            print(stamps / key, source)


if __name__ == "__main__":
    main()
