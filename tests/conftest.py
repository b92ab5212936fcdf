"""Fixtures that the tests share."""

import pytest

from tests.servers import SERVERS, on_server


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
    with on_server(request.param) as url:
        yield url


@pytest.fixture
def another_storage(database_url):
    """Opens the database as another process would."""
    from adamtune.tuning import storage

    opened = []

    def another():
        opened.append(storage.open_storage(database_url))
        return opened[-1]

    yield another
    for each in opened:
        storage.close(each)


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
