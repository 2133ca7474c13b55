"""Reads the project's files and the parts of its documents."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def read(path: str) -> str:
    """Returns the text of a file of the project, or nothing if there is no such file."""
    file = ROOT / path
    return file.read_text() if file.exists() else ""


def chapter(document: str, heading: str) -> str:
    """Returns the text under a heading of the second depth, up to the next one."""
    found = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", document, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def bash_blocks(document: str) -> list[tuple[str, str]]:
    """Returns the bash blocks of a document, each with the heading that it is under."""
    blocks: list[tuple[str, str]] = []
    inside: list[str] | None = None
    heading = ""
    for line in document.splitlines():
        if inside is None and line.startswith("#"):
            heading = line.lstrip("# ")
        elif inside is None and line.strip() == "```bash":
            inside = []
        elif inside is not None and line.strip() == "```":
            blocks.append((heading, "\n".join(inside)))
            inside = None
        elif inside is not None:
            inside.append(line)
    return blocks
