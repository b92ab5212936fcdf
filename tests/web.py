"""Asking a WSGI application as a browser or a stranger would, without a socket."""

import gzip
import io
import json
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit
from wsgiref.util import setup_testing_defaults


@dataclass
class Answer:
    status: int
    headers: dict
    body: bytes

    @property
    def text(self):
        zipped = self.headers.get("content-encoding") == "gzip"
        return (gzip.decompress(self.body) if zipped else self.body).decode()

    @property
    def json(self):
        return json.loads(self.text)


def ask(app, address, method="GET", body=b"", host="localhost:8080", **headers):
    """The answer to one request; headers as HTTP_ACCEPT_ENCODING="gzip"."""
    parts = urlsplit(address)
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": unquote(parts.path),
        "QUERY_STRING": parts.query,
        "HTTP_HOST": host,
        "wsgi.input": io.BytesIO(body),
        "CONTENT_LENGTH": str(len(body)),
        **headers,
    }
    setup_testing_defaults(environ)
    said = []

    def start_response(status, headers, exc_info=None):
        said[:] = [status, headers]
        return lambda data: None

    found = b"".join(app(environ, start_response))
    status, given = said
    return Answer(int(status[:3]), {name.lower(): value for name, value in given}, found)
