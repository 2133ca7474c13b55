#!/usr/bin/env python3
"""Takes one file out of an archive, when it is the one that is wanted.

usage: unpack.py ARCHIVE MEMBER SHA256 OUT

The archive is a wheel (zip) or a tar of any compression. OUT appears whole or not at all.
"""

import hashlib
import os
import sys
import tarfile
import zipfile


def member_bytes(archive: str, member: str) -> bytes:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            return opened.read(member)
    with tarfile.open(archive) as opened:
        found = opened.extractfile(member)
        if found is None:
            sys.exit(f"{archive}: {member} is not a file")
        return found.read()


def main() -> None:
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    archive, member, expected, out = sys.argv[1:]
    content = member_bytes(archive, member)
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        sys.exit(f"{archive}: {member} has SHA-256 {found}, not {expected}: not used")
    os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
    with open(out + ".part", "wb") as file:
        file.write(content)
    os.replace(out + ".part", out)


if __name__ == "__main__":
    main()
