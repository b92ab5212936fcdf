"""How long a browser waits for a study: optuna-dashboard as it is, and `adamtune dashboard`, on the same database.

    python studies/speed/dashboards.py            # some minutes; the table goes to dashboards.md
    python studies/speed/dashboards.py --quick    # 60 trials, to the terminal

The studies are made by adamtune's loop over lanes that train nothing, unpruned, so that each trial reports at all its
25 epochs: the largest that a study of so many trials can be. Both servers run in processes of their own, one after the
other, in turns; Chromium opens their pages with an empty cache. A poll is the request for later trials that a page of
optuna-dashboard sends again and again; 12 seconds lie before it, because its own cache keeps trials for 10.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import optuna
import pages

from adamtune.tuning import storage
from tests import browser as browsers
from tests import many

HERE = Path(__file__).resolve().parent
SIZES = (60, 1000, 4000)
# Of optuna-dashboard as in its page: it is ready when its charts are drawn.
_CHARTS = (
    "return [...document.querySelectorAll('.js-plotly-plot')].filter((each) => each.querySelector('.trace')).length > 2"
)
_READABLE = "return document.querySelector('.settings dd')?.innerText"
_OURS = "return [...document.querySelectorAll('figure[data-figure]')].every((each) => each.dataset.drawn)"
_TTL = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sizes, rounds = ((60,), 1) if options.quick else (options.sizes, options.rounds)
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{folder}/runs.db"
            opened = storage.open_storage(url)
            many.made(opened, size, name="digits/adam", exact=True, pruner="none")
            storage.close(opened)
            found = [measured(url, size) for _ in range(rounds)]
        rows.append((size, {key: statistics.median(each[key] for each in found) for key in found[0]}))
        print(size, {key: round(value, 3) for key, value in rows[-1][1].items()}, flush=True)
    if not options.quick:
        pages.write(HERE / "dashboards.md", table(rows))


def measured(url: str, size: int) -> dict[str, float]:
    """Seconds of everything, once."""
    found = {}
    stock = [str(Path(sys.executable).with_name("optuna-dashboard")), url, "--quiet", "--port"]
    ours = [sys.executable, "-m", "adamtune", "dashboard", "--storage", url, "--no-browser", "--port"]
    with serving(stock) as address:
        found["stock first"] = seconds(f"{address}/api/studies/1")
        time.sleep(_TTL)
        found["stock poll"] = seconds(f"{address}/api/studies/1?after={size}")
        time.sleep(_TTL)
        found["stock page"] = shown(f"{address}/dashboard/studies/1", _CHARTS)
    with serving(ours) as address:
        found["our page readable at once"] = shown(f"{address}/adamtune/study/1", _READABLE)
    with serving(ours) as address:
        found["our page at once"] = shown(f"{address}/adamtune/study/1", _OURS)
        found["our page readable"] = shown(f"{address}/adamtune/study/1", _READABLE)
        found["our page again"] = shown(f"{address}/adamtune/study/1", _OURS)
        found["our poll"] = seconds(f"{address}/adamtune/study/1", etag_of(f"{address}/adamtune/study/1"))
        found["leaderboard"] = shown(
            f"{address}/adamtune/", "return document.querySelectorAll('#studies td').length > 0"
        )
    with serving(ours) as address:
        found["beside first"] = seconds(f"{address}/api/studies/1")
        time.sleep(_TTL)
        found["beside poll"] = seconds(f"{address}/api/studies/1?after={size}")
        time.sleep(_TTL)
        found["beside page"] = shown(f"{address}/dashboard/studies/1", _CHARTS)
    return found


@contextlib.contextmanager
def serving(command: list[str]) -> Iterator[str]:
    """A server in a process of its own, on a port that is free; its address, once it answers."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = opened.getsockname()[1]
    process = subprocess.Popen([*command, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://localhost:{port}"
    try:
        while process.poll() is None:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/api/meta", timeout=5).read()
                break
            time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait()


def seconds(address: str, etag: str | None = None) -> float:
    """How long an answer takes to arrive whole."""
    headers = {"Accept-Encoding": "gzip"} | ({"If-None-Match": etag} if etag else {})
    request = urllib.request.Request(address, headers=headers)
    began = time.perf_counter()
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        assert error.code == 304
    return time.perf_counter() - began


def etag_of(address: str) -> str:
    with urllib.request.urlopen(address, timeout=120) as answer:
        return str(answer.headers["ETag"])


def shown(address: str, ready: str) -> float:
    """How long a browser with an empty cache takes until a page is ready."""
    with browsers.opened(patience=300) as browser:
        began = time.perf_counter()
        browser.driver.get(address)
        browser.until(ready)
        return time.perf_counter() - began


def table(rows: list[tuple[int, dict[str, float]]]) -> str:
    """The figures as Markdown."""
    lines = [
        "| trials | a poll: optuna-dashboard as it is | the same beside ours | times | a poll of our page | "
        "study page of optuna-dashboard as it is | beside ours | ours, to be read | its figures drawn too | "
        "to be read, again | with figures, again |",
        "|" + "---:|" * 11,
    ]
    for size, found in rows:
        ratio = found["stock poll"] / found["beside poll"]
        lines.append(
            f"| {size:,} | {found['stock poll']:.2f} s | {found['beside poll']:.2f} s | **{ratio:.1f}** | "
            f"{1000 * found['our poll']:.0f} ms | {found['stock page']:.1f} s | {found['beside page']:.1f} s | "
            f"{found['our page readable at once']:.1f} s | {found['our page at once']:.1f} s | "
            f"{found['our page readable']:.1f} s | {found['our page again']:.1f} s |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
