"""What every test may ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def postgres() -> Iterator:
    """One PostgreSQL server for all tests; `make postgres` gets the binaries where they are missing.

    Without them a test is skipped, but fails where CI is set: there nothing may pass by not having run.
    """
    from tests.postgres_server import binaries, postgres_server

    folder = binaries()
    if folder is None:
        why = (
            "there is no PostgreSQL server on this machine: run `make postgres` as root, or install Debian's postgresql"
        )
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    with postgres_server(folder) as server:
        yield server
