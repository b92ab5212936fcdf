"""Fixtures that the tests share."""

import os
import uuid

import pytest
import sqlalchemy

SERVERS = {"postgresql": "ADAMTUNE_TEST_POSTGRES", "mysql": "ADAMTUNE_TEST_MYSQL"}


@pytest.fixture
def seed():
    """The seed of every test that needs one, so that a failure repeats."""
    return 20141222  # the day Adam appeared: arXiv 1412.6980


@pytest.fixture(params=["sqlite", *SERVERS])
def database_url(request, tmp_path):
    """The URL of an empty database of this test alone, on each kind of server that is there."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    variable = SERVERS[request.param]
    if variable not in os.environ:
        pytest.skip(f"{variable} is not set: it names the {request.param} server to test against")
    server = sqlalchemy.make_url(os.environ[variable])
    name = f"adamtune_test_{uuid.uuid4().hex}"
    # A pool would keep connections open, and AUTOCOMMIT: CREATE DATABASE runs in no transaction.
    admin = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
    force = " WITH (FORCE)" if request.param == "postgresql" else ""  # drops what a test left open
    with admin.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(sqlalchemy.text(f"DROP DATABASE {name}{force}"))


@pytest.fixture
def url(tmp_path):
    """A SQLite file, for what is the same in every database."""
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture
def begin(url):
    """`begin_trial` for a study of four epochs in a file of this test alone."""
    from adamtune import begin_trial

    def begin(name="mine", **settings):
        return begin_trial(name, **{"epochs": 4, "sampler": "random", "storage": url, "random_state": 0} | settings)

    return begin
