"""What only a server can do to the store: not be there, go away and come back, or promise too little."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from features.errors import ConfigurationError, UnavailableError
from serving.rollouts.state import Change, read_rollout, set_champion
from serving.store import Store
from tests.postgres_server import PostgresServer
from training.demo import free_port

pytestmark = pytest.mark.service

BY = Change("ada", 7, "a test")


@pytest.fixture
def store(postgres: PostgresServer) -> Iterator[Store]:
    opened = Store.open(postgres.empty(), lock_timeout_ms=500)
    yield opened
    opened.close()


def test_a_server_that_is_not_there_is_unavailable_and_its_password_is_told_to_nobody() -> None:
    with pytest.raises(UnavailableError, match="does not answer") as raised:
        Store.open(f"postgresql://ada:secret@127.0.0.1:{free_port(0)}/shop")
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_server_that_cut_every_connection_is_found_again(postgres: PostgresServer, store: Store) -> None:
    set_champion(store, "first", BY)
    tail = store.tail()
    assert tail.after(0) == []
    with postgres.connect() as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holdfast'")
    with pytest.raises(UnavailableError):
        tail.after(0)
    assert tail.after(0) == []
    tail.close()
    state = read_rollout(store)
    assert state is not None
    assert state.champion == "first"


def test_every_session_syncs_its_commits_and_lets_go_of_its_turn(postgres: PostgresServer) -> None:
    url = postgres.empty()
    store = Store.open(url.replace("options=", "options=-csynchronous_commit%3Doff%20"))
    with store.write() as connection:
        told = {name: connection.scalar(sa.text(f"SHOW {name}")) for name in ("synchronous_commit", "lock_timeout")}
        assert connection.scalar(sa.text("SHOW idle_in_transaction_session_timeout")) == "1min"
    assert told == {"synchronous_commit": "on", "lock_timeout": "2s"}
    store.close()


def test_a_killed_writer_does_not_keep_its_turn(postgres: PostgresServer) -> None:
    url = postgres.empty()
    store = Store.open(url, lock_timeout_ms=5_000)
    holding = (
        "import sys, time; from serving.store import Store; store = Store.open(sys.argv[1])\n"
        "with store.write(): print('mine', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", holding, url], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"mine\n"
        holder.kill()
        set_champion(store, "first", BY)
    store.close()


def test_a_database_of_another_encoding_is_refused(postgres: PostgresServer) -> None:
    with postgres.connect() as admin:
        admin.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    with pytest.raises(ConfigurationError, match="encoding LATIN1"):
        Store.open(postgres.url().replace("/postgres?", "/latin?"))
