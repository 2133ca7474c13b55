"""Tests of all that is not Rust: deployment/, its documents and scripts, .github, the image.

A part is a folder, for which `make` has a target. The parts share repository.py, which reads the project's files,
commands.py, which runs programs and writes stand-ins for them, and tables.py, which makes tests of tables and reports
complaints.
"""
