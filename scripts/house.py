#!/usr/bin/env python3
"""Checks the language and the structure that CONTRIBUTING.md promises. usage: house.py [FOLDER]

Six rules, each with the place of what breaks it:

- words: none of the words of WORDS in code, comments, texts and documents;
- doc comments and docstrings: none starts with a bare what, where, whether, how, who, why, when or which;
- type names: each names one type in the whole workspace, tests left out;
- glossary: each type that docs/glossary.md names exists;
- import cycles: none between the modules of a crate, nor between the files of a folder;
- module paths: a module is the file that its name says, so #[path] is used nowhere.

Exit code 1 where a rule is broken. No dependencies: it runs wherever the checks do.
"""

import pathlib
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator

# Nouns that are no verbs: "one that calls a host" is a sentence, "one thread a camera" is not.
COUNTED = (
    "(?:byte|character|digit|thread|argument|fragment|event|column|inference|connection|transaction|frame)s?"
    "|px|bits|[KMG]i?B"
)
PER = (
    "second|minute|hour|day|week|month|year|camera|frame|fragment|record|stream|model|process|host|side|line|page|class"
    "|pixel|channel"
)
NUMBER = "(?:[0-9][0-9.,]*|one|two|three|four|five|six|eight|ten|twenty|thirty)(?: (?!that|which|who)[a-z]+)?"
# The word, and what to write in its place.
WORDS = {
    r"told|tells?": "report, log, return, identify",
    "anew": "again",
    "at hand": "current",
    "so long": "for this long, as long as",
    "goes on": "resumes, continues",
    "mend(?:s|ed|ing)?": "fix",
    "nobody": "name the component",
    "of late": "recently",
    "(?:MOST|LEAST)_[A-Z]+": "MAX_, MIN_",
    "may not": "is not allowed to, must not or might not",
    "things?": "the noun of the field: object, track, item, value",
    # As a noun: an inference is not a look. The verb is free.
    "(?:an?|the|each|every|per|no|two|three|first|second|third|next|last) looks?": "inference, check",
    # "two frames a second apart" counts no frames.
    rf"{NUMBER} (?:{COUNTED}) an? (?:{PER})(?! (?:time|later|earlier|apart|before|after))": "per in place of a",
    r"(?:[0-9][0-9.,]*|three|four|five|ten) (?:calls|requests|times|writes) a (?:second|minute|hour|day|month)"
    "(?! (?:time|later|apart))": "per in place of a",
}
HEADLESS = re.compile(r'^\s*(?://[/!] |""")(What|Where|Whether|How|Who|Why|When|Which)\b(?!.*\?)')
# Texts of others, and the list of words itself.
LEFT_OUT = re.compile(
    r"^(CHANGELOG\.md|LICENSE.*|scripts/house\.py|Cargo\.lock|.*\.lock|.*\.svg|testdata/.*|.*/snapshots/.*|scripts/advisories\.txt)$"
)
TEXTS = {".rs", ".md", ".py", ".sh", ".yaml", ".yml", ".toml", ".html", ".js", ".css", ""}
broken: list[str] = []
File = pathlib.PurePosixPath
Module = tuple[str, ...]
Sources = list[tuple[File, str]]
Edges = dict[tuple[Module, Module], File]
Places = dict[str, list[tuple[File, int]]]
Exports = dict[tuple[Module, Module], dict[str, str]]


def breaks(path: File | str, line: int, text: str) -> None:
    """Records one place that breaks a rule."""
    broken.append(f"{path}:{line}: {text}")


def files(root: pathlib.Path) -> list[File]:
    """Returns the files of the repository, tracked or new, as paths from its root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    kept = (pathlib.PurePosixPath(name) for name in sorted(set(listed)))
    return [path for path in kept if (root / path).is_file() and not LEFT_OUT.match(str(path))]


def check_words(path: File, text: str) -> None:
    """Finds the words of WORDS. An underscore ends a word, so that names are read as well."""
    pattern = re.compile("|".join(f"(?<![A-Za-z])(?:{word})(?![A-Za-z])" for word in WORDS), re.IGNORECASE)
    for number, line in enumerate(text.splitlines(), 1):
        # A stored name stays when its field is renamed, and serde takes it as a literal only.
        line = re.sub(r'(#\[serde\(rename = )"\w+"', r'\1""', line)
        if path.suffix == ".rs":
            line = re.sub(r'"\w+":', '"":', line)
        for found in pattern.finditer(line):
            word = found.group()
            instead = next(say for rule, say in WORDS.items() if re.fullmatch(rule, word, re.IGNORECASE))
            breaks(path, number, f"the word '{word}': write {instead}")


def check_doc_comments(path: File, text: str) -> None:
    """Finds doc comments whose first line starts with a bare clause."""
    before = ""
    for number, line in enumerate(text.splitlines(), 1):
        starts = not re.match(r"^\s*//[/!]", before)
        if starts and (found := HEADLESS.match(line)):
            breaks(
                path, number, f"the doc comment starts with '{found.group(1)}': say what the item returns, does or is"
            )
        before = line


def check_module_paths(path: File, text: str) -> None:
    """Finds modules that #[path] takes from another file."""
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(r"^\s*#\[(?:cfg_attr\(.*,)?\s*path\s*=", line):
            breaks(path, number, "#[path]: name the file after its module; tests share code through test-support")


def without_tests(text: str) -> str:
    """Returns the code before the tests of a file, comments and texts left out."""
    code = re.split(
        r"^\s*#\[cfg\(test\)\]\s*\n\s*(?:pub(?:\(\w+\))? )?mod \w+ \{", text, maxsplit=1, flags=re.MULTILINE
    )[0]
    return re.sub(r"//.*", "", code)


def is_test(path: File) -> bool:
    """Returns whether a Rust file is a test or a bench."""
    parts = path.parts
    return (
        bool({"tests", "benches", "fuzz", "examples"} & set(parts))
        or path.name in {"tests.rs"}
        or path.stem.endswith("_tests")
    )


def types_of(sources: Sources) -> Places:
    """Returns the places that define each type."""
    places: Places = defaultdict(list)
    for path, text in sources:
        for number, line in enumerate(without_tests(text).splitlines(), 1):
            found = re.match(
                r"^(?:pub(?:\([a-z: ]+\))? )?(?:unsafe )?(?:struct|enum|trait|union|type) ([A-Z]\w*)", line
            )
            if found:
                places[found.group(1)].append((path, number))
    return places


def check_type_names(places: Places) -> None:
    """Finds type names that two places in the workspace define."""
    for name, defined in sorted(places.items()):
        for path, number in defined[1:]:
            breaks(path, number, f"the type name {name} is used in {defined[0][0]} too: qualify one of them")


def check_glossary(path: File, text: str, places: Places) -> None:
    """Finds types that an entry of the glossary names (`Type: ...` at its end) and that do not exist."""
    for entry in re.finditer(r"\bTypes?: ([^.]*)\.", text):
        line = text[: entry.start()].count("\n") + 1
        for name in re.findall(r"`(\w+)`", entry.group(1)):
            if name not in places:
                breaks(path, line, f"the glossary names the type {name}, which is not defined")


def crate_of(path: File) -> Module:
    """Returns the `src` folder of the crate that a file belongs to."""
    return path.parts[: path.parts.index("src") + 1]


def module_of(path: File) -> Module:
    """Returns the path of a file's module in its crate: ("decode", "queue")."""
    inner = list(path.parts[path.parts.index("src") + 1 :])
    inner[-1] = inner[-1].removesuffix(".rs")
    return tuple(inner[:-1] if inner[-1] in {"mod", "lib", "main"} else inner)


def uses(code: str) -> Iterator[tuple[str, list[str]]]:
    """Yields the paths that a file names from `crate::` or `super::`, groups in braces taken apart."""
    for found in re.finditer(r"\b((?:crate|super)(?:::super)*)::((?:\w+(?:::)?)*)(\{[^;]*?\})?", code):
        head = [part for part in found.group(2).split("::") if part]
        if not found.group(3):
            yield found.group(1), head
            continue
        for item in re.findall(r"[\w:]+", re.sub(r"\{[^{}]*\}", "", found.group(3)[1:-1])):
            yield found.group(1), head + item.split("::")


def exports(sources: Sources) -> Exports:
    """Returns, by module, the file from which each re-exported name comes."""
    exported: Exports = defaultdict(dict)
    for path, text in sources:
        module = module_of(path)
        for child, names in re.findall(r"\buse (?:self::)?(\w+)::(\{[^}]*\}|\w+);", without_tests(text)):
            for name in re.findall(r"\w+", names):
                exported[crate_of(path), module].setdefault(name, child)
    return exported


def target(
    module: Module, start: str, path: list[str], modules: set[Module], exported: Exports, crate: Module
) -> Module:
    """Returns the module that a path leads to, or None outside the crate's own."""
    if start.startswith("crate"):
        base: Module = ()
    else:
        ups = start.count("super")
        base = module[: len(module) - ups] if ups <= len(module) else ()
    for name in path:
        if (*base, name) in modules:
            base += (name,)
        elif (child := exported[crate, base].get(name)) and (*base, child) in modules:
            base += (child,)
        else:
            break
    return base


def edges_of(sources: Sources) -> dict[Module, Edges]:
    """Returns, by crate, the imports between modules: {crate: {(from, to): place}}."""
    exported = exports(sources)
    modules: dict[Module, set[Module]] = defaultdict(set)
    for path, _ in sources:
        module = module_of(path)
        for depth in range(1, len(module) + 1):
            modules[crate_of(path)].add(module[:depth])
    edges: dict[Module, Edges] = defaultdict(dict)
    for path, text in sources:
        crate, module = crate_of(path), module_of(path)
        for start, names in uses(without_tests(text)):
            to = target(module, start, names, modules[crate], exported, crate)
            edges[crate].setdefault((module, to), path)
    return edges


def circle(nodes: dict[str, set[str]]) -> list[str] | None:
    """Returns one circle of a graph {node: set of nodes}, or None."""
    state: dict[str, int] = {}
    trail: list[str] = []

    def visit(node: str) -> list[str] | None:
        state[node] = 1
        trail.append(node)
        for after in sorted(nodes.get(node, ())):
            if state.get(after) == 1:
                return [*trail[trail.index(after) :], after]
            if after not in state and (found := visit(after)):
                return found
        state[node] = 2
        trail.pop()
        return None

    for node in sorted(nodes):
        if node not in state and (found := visit(node)):
            return found
    return None


def check_cycles(sources: Sources) -> None:
    """Finds a circle of imports among the modules of one level: those of a crate, or the files of a folder."""
    for crate, edges in edges_of(sources).items():
        levels: dict[Module, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for (start, to), _ in edges.items():
            depth = 0
            while depth < min(len(start), len(to)) and start[depth] == to[depth]:
                depth += 1
            if depth < len(start) and depth < len(to):
                levels[start[:depth]][start[depth]].add(to[depth])
        for parent, nodes in sorted(levels.items()):
            if found := circle(nodes):
                folder = "/".join(crate + parent)
                breaks(folder, 1, f"import cycle: {' -> '.join(found)}")


def main() -> None:
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    sys.setrecursionlimit(10_000)
    sources: Sources = []
    glossary: tuple[File, str] | None = None
    for path in files(root):
        if path.suffix not in TEXTS or (path.suffix == "" and (root / path).read_bytes()[:2] != b"#!"):
            continue
        text = (root / path).read_text(encoding="utf-8")
        check_words(path, text)
        if str(path) == "docs/glossary.md":
            glossary = (path, text)
        if path.suffix in {".rs", ".py"}:
            check_doc_comments(path, text)
            check_module_paths(path, text)
        if path.suffix == ".rs" and "src" in path.parts and not is_test(path):
            sources.append((path, text))
    places = types_of(sources)
    check_type_names(places)
    if glossary:
        check_glossary(*glossary, places)
    check_cycles(sources)
    print(
        "\n".join(broken)
        if broken
        else "house: words, doc comments, type names, glossary, imports and module paths as CONTRIBUTING.md says"
    )
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
