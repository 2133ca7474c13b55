"""Makes tests of tables with names, and reports complaints."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from _pytest.mark.structures import ParameterSet


def rows(table: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> list[ParameterSet]:
    """Returns the rows of a table as parameters of a test, each with its name as the id. A tuple fills several."""
    named = table.items() if isinstance(table, Mapping) else table
    return [pytest.param(*(row if isinstance(row, tuple) else (row,)), id=name) for name, row in named]


def assert_none(complaints: Iterable[str]) -> None:
    """Fails the test with a line per complaint."""
    if found := list(complaints):
        pytest.fail("\n".join(found), pytrace=False)


def expect(holds: bool, complaint: str) -> list[str]:
    """Returns the complaint, unless the condition holds."""
    return [] if holds else [complaint]


def differing(**pairs: tuple[object, object]) -> list[str]:
    """Returns a complaint for each pair whose halves, the actual and the expected value, differ."""
    return [f"{name}: {has}, not {wanted}" for name, (has, wanted) in pairs.items() if has != wanted]
