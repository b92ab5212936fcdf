import gzip
import sys

import pytest

from adamtune.dashboard import guard, names_of
from tests.web import ask

TOKEN = "a-token-that-nobody-guesses"


def behind(app=None, hosts=("localhost", "127.0.0.1", "::1"), token=None, writable=False):
    return guard.guarded(app or page, hosts, token, writable)


def page(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/html"), ("Access-Control-Allow-Origin", "*")])
    return [b"<p>" + environ["REQUEST_METHOD"].encode() + b"</p>"]


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:9", "[::1]:8080"])
def test_this_machine_may_ask(host):
    assert ask(behind(), "/adamtune/", host=host).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "localhost.evil.example", "", "[", "127.0.0.1@evil.example", "x:y:z"]
)
def test_under_another_name_nothing_is_answered(host):
    answer = ask(behind(), "/adamtune/", host=host)
    assert answer.status == 421 and b"GET" not in answer.body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "MKCOL"])
def test_reading_alone_changes_nothing(method):
    answer = ask(behind(), "/api/studies/1", method)
    assert answer.status == 403 and "--writable" in answer.json["reason"]
    assert ask(behind(writable=True), "/api/studies/1", method).status == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8080", 200),
        ("http://localhost:9999", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("http://localhost:8080.evil.example", 403),
    ],
)
def test_another_site_may_not_write(origin, status):
    assert ask(behind(writable=True), "/api/studies", "POST", HTTP_ORIGIN=origin).status == status


def test_without_the_token_nobody_comes_in():
    app = behind(token=TOKEN)
    for address in ("/", "/adamtune/", "/api/studies", "/artifacts/1/x", "/adamtune/?token=wrong", "/?token="):
        answer = ask(app, address)
        assert answer.status == 401 and b"GET" not in answer.body
    assert ask(app, "/adamtune/", HTTP_COOKIE="adamtune_token=wrong").status == 401
    assert ask(app, "/adamtune/", HTTP_AUTHORIZATION="Bearer wrong").status == 401
    assert ask(app, "/adamtune/", HTTP_COOKIE='adamtune_token="; =;;').status == 401


def test_the_token_is_shown_once_and_kept_as_a_cookie():
    app = behind(token=TOKEN)
    answer = ask(app, f"/adamtune/compare?a=1&token={TOKEN}&b=2")
    assert answer.status == 303 and answer.headers["location"] == "/adamtune/compare?a=1&b=2"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert ask(app, "/adamtune/", HTTP_COOKIE=cookie.partition(";")[0]).status == 200
    assert ask(app, "/adamtune/", HTTP_AUTHORIZATION=f"Bearer {TOKEN}").status == 200


@pytest.mark.parametrize("path", ["//evil.example/", "/\\evil.example", "/a\r\nSet-Cookie: b=c"])
def test_the_token_leads_to_no_other_site(path):
    answer = ask(behind(token=TOKEN), f"http://localhost{path}?token={TOKEN}") if "\r" not in path else None
    if answer is None:
        environ_path = guard._without_token({"PATH_INFO": path})
        assert "\r" not in environ_path and "\n" not in environ_path
        return
    assert not answer.headers["location"].startswith(("//", "/\\"))


def test_a_token_does_not_open_what_only_reads():
    app = behind(token=TOKEN)
    assert ask(app, "/api/studies", "POST", HTTP_AUTHORIZATION=f"Bearer {TOKEN}").status == 403


@pytest.mark.parametrize("address", ["/adamtune/study/1", "/artifacts/1/0000", "/dashboard", "/api/studies"])
def test_browsers_are_told_what_they_may_do(address):
    headers = ask(behind(), address).headers
    assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
    assert "access-control-allow-origin" not in headers
    policy = headers.get("content-security-policy", "")
    assert ("script-src 'self'" in policy) is address.startswith("/adamtune")
    assert ("sandbox" in policy) is address.startswith("/artifacts")
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]


def test_text_is_zipped_for_who_can_read_it_and_nothing_else_is():
    def large(environ, start_response):
        kind = "application/json" if environ["PATH_INFO"] == "/text" else "image/png"
        start_response("200 OK", [("Content-Type", kind), ("Content-Length", "5000")])
        return [b"x" * 5000]

    app = behind(large)
    answer = ask(app, "/text", HTTP_ACCEPT_ENCODING="gzip, br")
    assert answer.headers["content-encoding"] == "gzip" and gzip.decompress(answer.body) == b"x" * 5000
    assert answer.headers["content-length"] == str(len(answer.body)) and len(answer.body) < 100
    for plain in (ask(app, "/text"), ask(app, "/picture", HTTP_ACCEPT_ENCODING="gzip")):
        assert "content-encoding" not in plain.headers and plain.headers["content-length"] == "5000"


def test_a_failing_application_passes_its_error_on():
    def failing(environ, start_response):
        try:
            raise ValueError("x")
        except ValueError:
            start_response("500 Internal Server Error", [("Content-Type", "text/plain")], sys.exc_info())
        return [b"failed"]

    assert ask(behind(failing), "/").status == 500


def test_the_names_of_an_address():
    assert set(names_of("localhost")) == {"localhost", "127.0.0.1", "::1"}
    assert "192.168.1.5" in names_of("192.168.1.5") and "evil.example" not in names_of("192.168.1.5")
    assert "localhost" in names_of("0.0.0.0")
