"""A guard in front of whatever serves pages: who may ask, what may be asked, and what a browser may do with answers.

optuna-dashboard has no login and no look at the Host header, and deletes a study for whoever sends the request; that
is fine behind a guard. A page of another site can have a browser send requests here, under a name of its own that
resolves to this machine (DNS rebinding), so the name is checked; and where others can reach the port, so is a token.
"""

from __future__ import annotations

import gzip
import hmac
import http.cookies
from collections.abc import Callable, Collection, Iterable
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
Headers = list[tuple[str, str]]

_COOKIE = "adamtune_token"
_READS = ("GET", "HEAD", "OPTIONS")
# What our own pages may load: nothing that is not served here. Plotly sets styles of elements, and saves pictures.
_OURS = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# An artifact is somebody's file: shown, but nothing in it runs.
_ARTIFACT = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; media-src 'self'; sandbox"
_FEWEST_TO_GZIP = 1024
_GZIPPED = ("text/", "application/json", "application/javascript", "image/svg")


def guarded(app: Application, hosts: Collection[str], token: str | None, writable: bool) -> Application:
    """The application behind the guard.

    Parameters
    ----------
    app : WSGI application
    hosts : collection of str
        Names, without a port, under which this machine may be asked.
    token : str or None
        To be shown once, as `?token=` or `Authorization: Bearer`; a browser keeps it as a cookie.
    writable : bool
        Whether requests that change something pass.
    """

    def guard(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        refused = _refused(environ, hosts, token, writable)
        if refused:
            status, headers, text = refused
            start_response(status, [("Content-Type", "text/plain; charset=utf-8"), *headers, *_marks(environ)])
            return [text.encode()]
        return _answer(app, environ, start_response)

    return guard


def _refused(
    environ: Environ, hosts: Collection[str], token: str | None, writable: bool
) -> tuple[str, Headers, str] | None:
    """Why a request is not answered: status, headers and a text."""
    host = environ.get("HTTP_HOST", "")
    if _name(host) not in hosts:
        return "421 Misdirected Request", [], "This is not the host that was asked for.\n"
    if token is not None:
        given, kept = _token_of(environ)
        if given is not None and _equal(given, token):
            if environ["REQUEST_METHOD"] == "GET" and "HTTP_AUTHORIZATION" not in environ:
                return "303 See Other", [("Location", _without_token(environ)), ("Set-Cookie", _cookie(token))], ""
        elif kept is None or not _equal(kept, token):
            text = "A token is missing or wrong: open the address that `adamtune dashboard` printed.\n"
            return "401 Unauthorized", [("WWW-Authenticate", "Bearer")], text
    if environ["REQUEST_METHOD"] in _READS:
        return None
    if not writable:
        text = '{"reason": "This dashboard only reads. Start it with --writable to change studies from here."}'
        return "403 Forbidden", [], text
    origin = environ.get("HTTP_ORIGIN")
    if origin is not None and urlsplit(origin).netloc != host:
        return "403 Forbidden", [], "Another site may not change anything here.\n"
    return None


def _answer(app: Application, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """What the application says, with our headers, and gzipped where that is worth it."""
    said: list[Any] = []

    def keep(status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], None]:
        said[:] = [status, headers, exc_info]
        return written.append

    written: list[bytes] = []
    answered = app(environ, keep)
    try:
        body = b"".join([*written, *answered])
    finally:
        if hasattr(answered, "close"):
            answered.close()
    status, headers, exc_info = said
    dropped = {name.lower() for name, _ in _marks(environ)} | {"access-control-allow-origin", "content-length"}
    if not _is_ours(environ) and not _is_artifact(environ):
        dropped.discard("content-security-policy")  # optuna-dashboard has one for its own pages
    own = [(name, value) for name, value in headers if name.lower() not in dropped]
    if body and _may_gzip(environ, own, len(body)):
        body = gzip.compress(body, 1)  # 15 MB of trials in a fifth of a second
        own += [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]
    # A HEAD has no body, but says how long it would be.
    length = next((value for name, value in headers if name.lower() == "content-length"), None)
    if status[:3] not in ("204", "304"):
        own.append(("Content-Length", str(len(body)) if body or length is None else length))
    start_response(status, [*own, *_marks(environ)], exc_info)
    return [body]


def _marks(environ: Environ) -> Headers:
    """What is said to a browser with every answer."""
    found = [
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    ]
    if _is_ours(environ):
        found.append(("Content-Security-Policy", _OURS))
    elif _is_artifact(environ):
        found.append(("Content-Security-Policy", _ARTIFACT))
    return found


def _is_ours(environ: Environ) -> bool:
    path = environ.get("PATH_INFO", "")
    return path == "/adamtune" or path.startswith("/adamtune/")


def _is_artifact(environ: Environ) -> bool:
    return environ.get("PATH_INFO", "").startswith("/artifacts/")


def _may_gzip(environ: Environ, headers: Headers, length: int) -> bool:
    named = {name.lower(): value for name, value in headers}
    return (
        length >= _FEWEST_TO_GZIP
        and "content-encoding" not in named
        and "content-range" not in named
        and named.get("content-type", "").startswith(_GZIPPED)
        and "gzip" in environ.get("HTTP_ACCEPT_ENCODING", "")
    )


def _name(host: str) -> str:
    """The name in a Host header, without the port.

    >>> _name("localhost:8080"), _name("[::1]:8080"), _name("evil.example")
    ('localhost', '::1', 'evil.example')
    """
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _token_of(environ: Environ) -> tuple[str | None, str | None]:
    """The token that is shown, and the one that the browser has kept."""
    shown = dict(parse_qsl(environ.get("QUERY_STRING", ""))).get("token")
    said = environ.get("HTTP_AUTHORIZATION", "")
    if said.startswith("Bearer "):
        shown = said.removeprefix("Bearer ").strip()
    try:
        cookie = http.cookies.SimpleCookie(environ.get("HTTP_COOKIE", "")).get(_COOKIE)
    except http.cookies.CookieError:
        cookie = None
    return shown, cookie.value if cookie else None


def _equal(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _cookie(token: str) -> str:
    return f"{_COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/"


def _without_token(environ: Environ) -> str:
    left = [(name, value) for name, value in parse_qsl(environ.get("QUERY_STRING", "")) if name != "token"]
    # A path that begins with two slashes would be another host.
    path = quote("/" + environ.get("PATH_INFO", "").lstrip("/\\"))
    return path + (f"?{urlencode(left)}" if left else "")
