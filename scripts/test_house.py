#!/usr/bin/env python3
"""Tests of house.py: each rule finds the file that breaks it, and nothing else. Run: python3 scripts/test_house.py"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

HOUSE = pathlib.Path(__file__).with_name("house.py")
CLEAN = {
    "src/lib.rs": "//! Counts frames.\n\npub mod base;\npub mod decode;\n",
    "src/base.rs": "//! Numbers.\n\n/// A number of frames.\npub struct Frames(u64);\n",
    "src/decode.rs": "//! Decoding.\n\nuse crate::base::Frames;\n\n/// Decodes frames.\npub fn decode(frames: Frames) {}\n",
}


def findings(**changed):
    """Returns the lines that house.py prints about a repository that differs from CLEAN in these files."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in (CLEAN | {path.replace("__", "/"): text for path, text in changed.items()}).items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        subprocess.run(["git", "init", "-q", folder], check=True)
        ran = subprocess.run([sys.executable, HOUSE, folder], capture_output=True, text=True, check=False)
    lines = ran.stdout.splitlines()
    return [] if ran.returncode == 0 else lines


class House(unittest.TestCase):
    def found(self, words, **changed):
        lines = findings(**changed)
        self.assertEqual(len(lines), 1, lines)
        self.assertIn(words, lines[0])

    def test_clean(self):
        self.assertEqual(findings(), [])

    def test_a_word_in_a_comment_a_name_and_a_document(self):
        word = "to" + "ld"
        self.found("src/base.rs:3: the word", **{"src/base.rs": f"//! Numbers.\n\n// It is {word} twice.\n"})
        self.found("the word 'MO" + "ST_FRAMES'", **{"src/base.rs": "//! Numbers.\n\nconst MO" + "ST_FRAMES: u64 = 1;\n"})
        self.found("README.md:1: the word", **{"README.md": f"The reason is {word}.\n"})
        self.assertEqual(findings(**{"README.md": f"un{word}, {word}s\n"}), [])

    def test_a_stored_name_of_a_renamed_field(self):
        stored = '#[serde(rename = "to' + 'ld")]'
        renamed = f"pub struct Report {{\n    {stored}\n    at_ms: i64,\n}}\n"
        self.assertEqual(findings(**{"src/base.rs": CLEAN["src/base.rs"] + renamed}), [])

    def test_a_headless_doc_comment(self):
        self.found("starts with 'Whether'", **{"src/base.rs": "//! Numbers.\n\n/// Whether it is full.\npub fn is_full() {}\n"})
        second = "//! Numbers.\n\n/// Returns the first frame\n/// when it is full.\npub fn first() {}\n"
        self.assertEqual(findings(**{"src/base.rs": second}), [])

    def test_a_type_name_of_two_places(self):
        self.found("the type name Frames", **{"src/decode.rs": "//! Decoding.\n\nstruct Frames;\n"})
        test = "//! Decoding.\n\n#[cfg(test)]\nmod tests {\n    struct Frames;\n}\n"
        self.assertEqual(findings(**{"src/decode.rs": test}), [])

    def test_a_module_of_another_file(self):
        attribute = '#[path = "other.rs"]'
        self.found("tests/all.rs:1: #[path]", **{"tests/all.rs": f"{attribute}\nmod other;\n"})
        self.found("src/lib.rs:5: #[path]", **{"src/lib.rs": CLEAN["src/lib.rs"] + f"    {attribute}\nmod other;\n"})
        self.assertEqual(findings(**{"src/lib.rs": CLEAN["src/lib.rs"] + "// #[path] is not used.\n"}), [])

    def test_an_import_cycle(self):
        cycle = "//! Numbers.\n\nuse crate::decode::decode;\n"
        self.found("import cycle: base -> decode -> base", **{"src/base.rs": cycle + "\n/// A number of frames.\npub struct Frames(u64);\n"})
        inside = {
            "src/base/mod.rs": "//! Numbers.\n\nmod a;\nmod b;\n\npub use a::Frames;\n",
            "src/base/a.rs": "//! A.\n\nuse super::b::Other;\n\n/// A number of frames.\npub struct Frames(Other);\n",
            "src/base/b.rs": "//! B.\n\nuse super::Frames;\n\n/// Another number.\npub struct Other(Frames);\n",
            "src/base.rs": "//! Not a module of its own.\n",
        }
        self.found("src/base:1: import cycle: a -> b -> a", **inside)


if __name__ == "__main__":
    unittest.main()
