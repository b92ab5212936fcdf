"""Fixtures that the tests of databases share."""

import pytest


@pytest.fixture
def url(tmp_path):
    """The URL of a SQLite file of this test alone, for what is the same in every database."""
    return f"sqlite:///{tmp_path / 'test.db'}"
