"""Checks deployment/ and its document. usage: python deployment/check files|life|lint|sbom|stack|script|guide...   (default: files)

files  rules over the files, and the mutations that they must catch (seconds, needs boto3 and PyYAML)
life   `make deploy`, `teardown`, `refresh-host` where AWS refuses, fails or does not end, against a stand-in (seconds, needs jq)
lint   cfn-lint and checkov over the template
stack  the stack created on a local AWS, each resource checked
script `make deploy`, `deploy-plan`, `teardown` against a local AWS
sbom   the bill of materials of the image by CycloneDX's schema
guide  the commands of docs/deploy.md run in order against a local AWS
"""

import sys
from collections.abc import Iterator

Result = tuple[str, list[str]]


def files() -> Iterator[Result]:
    """Each rule, then each mutation of the files that a rule must catch."""
    import rules
    import rules.alarms
    import rules.github
    import rules.hosts
    import rules.service
    from mutations import MUTATIONS
    from sources import load

    real = load()
    yield from ((f"rule {name}", found) for name, found in rules.complaints(real).items())
    for mutation in MUTATIONS:
        changed = real.copy()
        mutation.make(changed)
        caught = rules.RULES[mutation.rule](changed) != rules.RULES[mutation.rule](real)
        yield f"mutation: {mutation.name}", [] if caught else [f"{mutation.rule} does not see it"]
    unused = rules.RULES.keys() - {mutation.rule for mutation in MUTATIONS} - {"the_template_can_be_sent"}
    yield "each rule has a mutation", [f"no mutation shows that {name} can fail" for name in sorted(unused)]


def life() -> Iterator[Result]:
    """The script when AWS refuses or fails."""
    import life as cases

    yield from cases.results()


def lint() -> Iterator[Result]:
    """The linters."""
    import lint as linters

    yield from linters.results()


def sbom() -> Iterator[Result]:
    """The bill of materials of an image."""
    import sbom as bill

    yield from bill.results()


def stack() -> Iterator[Result]:
    """The stack on a local AWS."""
    import stack as created

    yield from created.results()


def script() -> Iterator[Result]:
    """The script that makes and changes the stack."""
    import script as deploying

    yield from deploying.results()


def guide() -> Iterator[Result]:
    """The document on a local AWS."""
    import guide as document

    yield from document.results()


GROUPS = {group.__name__: group for group in (files, life, lint, sbom, stack, script, guide)}


def main(names: list[str]) -> int:
    """Runs groups; prints each failure, and last how many passed."""
    unknown = [name for name in names if name not in GROUPS]
    if unknown:
        print(__doc__, file=sys.stderr)
        return 64
    passed = failed = 0
    for name in names or ["files"]:
        for what, found in GROUPS[name]():
            passed, failed = passed + (not found), failed + bool(found)
            if found or name not in ("files", "life"):
                print(f"{'FAILED' if found else 'ok'}: {what}", *(f"    {line}" for line in found), sep="\n", flush=True)
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0)


sys.exit(main(sys.argv[1:]))
