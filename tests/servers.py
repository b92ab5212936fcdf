"""Databases of their own on the servers that are there to test against, gone afterwards."""

import contextlib
import os
import uuid

import pytest
import sqlalchemy

SERVERS = {"postgresql": "ADAMTUNE_TEST_POSTGRES", "mysql": "ADAMTUNE_TEST_MYSQL"}


@contextlib.contextmanager
def on_server(kind):
    """The URL of a new database on the server of that kind; skips the test where there is none."""
    if SERVERS[kind] not in os.environ:
        pytest.skip(f"{SERVERS[kind]} is not set: it names the {kind} server to test against")
    with new_database(sqlalchemy.make_url(os.environ[SERVERS[kind]])) as url:
        yield url


@contextlib.contextmanager
def new_database(server):
    """The URL of a new database beside the one that a URL of SQLAlchemy names."""
    name = f"adamtune_test_{uuid.uuid4().hex}"
    # A pool would keep connections open, and AUTOCOMMIT: CREATE DATABASE runs in no transaction.
    admin = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
    force = " WITH (FORCE)" if server.get_backend_name() == "postgresql" else ""  # drops what a test left open
    with admin.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(sqlalchemy.text(f"DROP DATABASE {name}{force}"))
