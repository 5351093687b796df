"""A PostgreSQL server for tests: the machine's binaries, a folder of its own, loopback alone, gone at the end."""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from training.demo import free_port

NOBODY = "nobody"
START_S = 60
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "max_connections": "60",
    "shared_buffers": "64MB",
}


@dataclass
class PostgresServer:
    """A running server; each test takes a place of its own."""

    port: int
    password: str
    _made: int = 0

    def url(self, schema: str = "public") -> str:
        server = f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/postgres"
        return f"{server}?options=-csearch_path%3D{schema}"

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.url(), autocommit=True)

    def empty(self) -> str:
        """The URL of an empty place: a schema, which is made and removed sooner than a database."""
        self._made += 1
        with self.connect() as connection:
            connection.execute(f"CREATE SCHEMA shop{self._made}")
        return self.url(f"shop{self._made}")


def binaries() -> Path | None:
    """Where the newest server of this machine is: Debian keeps each version in a folder that is on no path."""
    versions = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if versions:
        return max(versions, key=lambda path: float(path.parent.name))
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


@contextmanager
def postgres_server(folder: Path) -> Iterator[PostgresServer]:
    """Make and start a server of these binaries. It refuses to be root: then it runs as nobody."""
    as_user = {"user": NOBODY, "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    home = Path(tempfile.mkdtemp(prefix="holdfast-postgres-"))
    server = PostgresServer(free_port(0), secrets.token_urlsafe(16))
    process = None
    try:
        (home / "password").write_text(server.password)
        if as_user:
            for path in (home, home / "password"):
                shutil.chown(path, NOBODY, "nogroup")
        made = [folder / "initdb", "-D", home / "data", "-U", "postgres", "-A", "scram-sha-256", "--no-sync"]
        made += [f"--pwfile={home / 'password'}", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run(made, cwd=home, check=True, capture_output=True, **as_user)
        options = [part for name, value in OPTIONS.items() for part in ("-c", f"{name}={value}")]
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                [folder / "postgres", "-D", home / "data", "-p", str(server.port), *options],
                cwd=home,
                stdout=log,
                stderr=log,
                preexec_fn=_end_with_the_tests,  # noqa: PLW1509 - of one system call
                **as_user,
            )
        _wait(server, process, home / "log")
        yield server
    finally:
        if process is not None:
            process.send_signal(signal.SIGQUIT)  # at once: what it holds is thrown away
            process.wait(60)
        shutil.rmtree(home, ignore_errors=True)


def _end_with_the_tests() -> None:
    """The kernel ends the server where the tests are killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


def _wait(server: PostgresServer, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            server.connect().close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"PostgreSQL did not start:\n{log.read_text()[-4_000:]}")
