"""Options of the tests."""

import pytest

VARIANTS = ("cpu", "gpu")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the variants of the image that checks/image builds and runs."""
    parser.addoption("--variant", action="append", choices=VARIANTS, help="a variant of the image (default: each)")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs what needs the image once per variant that was asked for."""
    if "variant" in metafunc.fixturenames:
        wanted = metafunc.config.getoption("--variant") or VARIANTS
        metafunc.parametrize("variant", list(dict.fromkeys(wanted)), scope="session")
