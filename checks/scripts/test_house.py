"""scripts/house.py: each rule finds the file that breaks it, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

from checks.commands import output, run
from checks.repository import ROOT
from checks.tables import rows

Texts = dict[str, str]
HOUSE = ROOT / "scripts/house.py"
CLEAN = {
    "src/lib.rs": "//! Counts frames.\n\npub mod base;\npub mod decode;\n",
    "src/base.rs": "//! Numbers.\n\n/// A number of frames.\npub struct Frames(u64);\n",
    "src/decode.rs": (
        "//! Decoding.\n\nuse crate::base::Frames;\n\n/// Decodes frames.\npub fn decode(frames: Frames) {}\n"
    ),
}
# Words that the rules reject, in two parts so that they accept this file.
WORD, NAME, LEAST = "to" + "ld", "MO" + "ST_FRAMES", "LEA" + "ST_FRAMES"
FRAMES = "\n/// A number of frames.\npub struct Frames(u64);\n"
CYCLE_IN_A_FOLDER = {
    "src/base/mod.rs": "//! Numbers.\n\nmod a;\nmod b;\n\npub use a::Frames;\n",
    "src/base/a.rs": "//! A.\n\nuse super::b::Other;\n\n/// A number of frames.\npub struct Frames(Other);\n",
    "src/base/b.rs": "//! B.\n\nuse super::Frames;\n\n/// Another number.\npub struct Other(Frames);\n",
    "src/base.rs": "//! Not a module of its own.\n",
}
# The same of the whole list.
WORDS = [
    ("ane", "w"),
    ("at ", "hand"),
    ("so ", "long"),
    ("goes ", "on"),
    ("me", "nded"),
    ("nob", "ody"),
    ("of ", "late"),
    ("may ", "not"),
    ("th", "ing"),
    ("Th", "ings"),
    ("a ", "look"),
    ("each ", "look"),
    ("per ", "look"),
    ("two ", "looks"),
    ("10 bytes ", "a frame"),
    ("one decode thread", " a camera"),
    ("Twenty frames", " a second"),
    ("2^24 px", " a side"),
    ("260,000 times", " a month"),
]
# Words that only resemble one of the list.
OTHER_WORDS = [
    "anything, something, nothing, everything",
    "it may notice",
    "as long as it looks alike",
    "this one looks alike",
    "a lookup",
    "two frames a second apart",
    "asked four times a second later",
    "10 bytes of a frame",
    "one that calls a host",
    "one reads a frame",
    "10 bytes per frame",
]
GLOSSARY = "- **number**: how many.\n  Type: `Frames`.\n- **old**: gone. Types: `Frames`,\n  `{other}`. Field: `x`.\n"
REJECTED: dict[str, tuple[str, Texts]] = {
    "a word in a comment": ("src/base.rs:3: the word", {"src/base.rs": f"//! Numbers.\n\n// It is {WORD} twice.\n"}),
    "a word in a name": (f"the word '{NAME}'", {"src/base.rs": f"//! Numbers.\n\nconst {NAME}: u64 = 1;\n"}),
    "another word in a name": ("write MAX_, MIN_", {"src/base.rs": f"//! Numbers.\n\nconst {LEAST}: u64 = 1;\n"}),
    "a word in a document": ("README.md:1: the word", {"README.md": f"The reason is {WORD}.\n"}),
    "a headless doc comment": (
        "starts with 'Whether'",
        {"src/base.rs": "//! Numbers.\n\n/// Whether it is full.\npub fn is_full() {}\n"},
    ),
    "a headless docstring": (
        "full.py:2: the doc comment starts with 'Whether'",
        {"full.py": 'def is_full():\n    """Whether it is full."""\n'},
    ),
    "a type name of two places": (
        "the type name Frames",
        {"src/decode.rs": "//! Decoding.\n\nstruct Frames;\n"},
    ),
    "a type of the glossary that is not defined": (
        "docs/glossary.md:3: the glossary names the type Gone",
        {"docs/glossary.md": GLOSSARY.format(other="Gone")},
    ),
    "a module of another file": (
        "src/lib.rs:5: #[path]",
        {"src/lib.rs": CLEAN["src/lib.rs"] + '    #[path = "other.rs"]\nmod other;\n'},
    ),
    "an import cycle": (
        "import cycle: base -> decode -> base",
        {"src/base.rs": "//! Numbers.\n\nuse crate::decode::decode;\n" + FRAMES},
    ),
    "an import cycle in a folder": ("src/base:1: import cycle: a -> b -> a", CYCLE_IN_A_FOLDER),
}
ACCEPTED: dict[str, Texts] = {
    "a clean repository": {},
    "a word as a part of another": {"README.md": f"un{WORD}, {WORD}s\n"},
    "a stored name of a renamed field": {
        "src/base.rs": CLEAN["src/base.rs"]
        + f'pub struct Report {{\n    #[serde(rename = "{WORD}")]\n    at_ms: i64,\n}}\n'
    },
    "a clause in the second line of a doc comment": {
        "src/base.rs": "//! Numbers.\n\n/// Returns the first frame\n/// when it is full.\npub fn first() {}\n"
    },
    "a clause in the second line of a docstring": {
        "full.py": 'def first():\n    """Returns the first frame\n\n    when it is full.\n    """\n'
    },
    "a glossary of types that are defined": {"docs/glossary.md": GLOSSARY.format(other="Frames")},
    "a comment about module paths": {"src/lib.rs": CLEAN["src/lib.rs"] + "// #[path] is not used.\n"},
    "a type name of a test": {"src/decode.rs": "//! Decoding.\n\n#[cfg(test)]\nmod tests {\n    struct Frames;\n}\n"},
}


def house(folder: Path, changed: Texts) -> subprocess.CompletedProcess[str]:
    """Runs house.py in a repository that differs from CLEAN in some files."""
    for name, text in (CLEAN | changed).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    subprocess.run(["git", "init", "-q", folder], check=True)
    return run([sys.executable, HOUSE, folder])


@pytest.mark.parametrize(("finding", "changed"), rows(REJECTED))
def test_house_rejects(tmp_path: Path, finding: str, changed: Texts) -> None:
    ran = house(tmp_path, changed)
    lines = ran.stdout.splitlines()
    assert ran.returncode == 1, output(ran)
    assert len(lines) == 1, lines
    assert finding in lines[0]


@pytest.mark.parametrize("word", ["".join(parts) for parts in WORDS])
def test_house_rejects_the_word(tmp_path: Path, word: str) -> None:
    ran = house(tmp_path, {"README.md": f"It says {word} here.\n"})
    assert (ran.returncode, len(ran.stdout.splitlines())) == (1, 1), output(ran)
    assert ran.stdout.startswith("README.md:1: the word")


@pytest.mark.parametrize("text", OTHER_WORDS)
def test_house_accepts_the_words(tmp_path: Path, text: str) -> None:
    ran = house(tmp_path, {"README.md": f"{text}\n"})
    assert ran.returncode == 0, output(ran)


@pytest.mark.parametrize("changed", rows(ACCEPTED))
def test_house_accepts(tmp_path: Path, changed: Texts) -> None:
    ran = house(tmp_path, changed)
    assert ran.returncode == 0, output(ran)
