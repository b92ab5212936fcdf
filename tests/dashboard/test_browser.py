"""Pages as people see them, in a real browser. Pictures go to $ADAMTUNE_PICTURES, which `make pictures` names."""

import os
import re
from pathlib import Path

import pytest

from adamtune import dashboard, presenting, report
from adamtune.tuning import storage
from tests import browser as browsers
from tests import many

SIZES = (60, 1000, 4000)
NAME = "digits-{}/adam"


@pytest.fixture(scope="module")
def browser():
    with browsers.opened() as opened:
        yield opened


@pytest.fixture
def look(browser):
    """The browser, with a screen of the usual size, and a function that keeps a picture where one is asked for."""
    folder = os.environ.get("ADAMTUNE_PICTURES")

    def keep(name, **screen):
        if folder:
            if screen:
                browser.look(**screen)
                browser.drawn()
            # Where the database of a test lies is nobody's business.
            browser.js(
                "const foot = document.querySelector('footer'); if (foot) foot.textContent = 'sqlite:///runs.db'"
            )
            browser.picture(Path(folder) / f"{name}.png")
            browser.look()

    browser.look()
    browser.driver.get("about:blank")  # what the last test left open asks for news of a server that is gone
    browser.errors()
    browser.keep = keep
    return browser


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A database with studies of all sizes, one of plain Optuna, and the task of one that was trained."""
    found = f"sqlite:///{tmp_path_factory.mktemp('runs') / 'runs.db'}"
    opened = storage.open_storage(found)
    for number, size in enumerate(SIZES):
        study = many.made(opened, size, name=NAME.format(size), seed=number, exact=True)
        if not number:
            presenting.present(study)
    many.plain(opened)
    storage.close(opened)
    from tests.small import tuned

    tuned(storage=found, study_name="trained", n_trials=8, start_from="shipped", n_seeds=1, confirm=2)
    return found


@pytest.fixture(scope="module")
def site(url):
    app, database = dashboard.make(url)
    with browsers.served(app) as address:
        yield address
    database.close()


@pytest.mark.parametrize("size", SIZES)
def test_a_study_of_any_size_is_shown_whole(look, site, size):
    look.open(f"{site}/adamtune/study/{SIZES.index(size) + 1}")
    assert NAME.format(size) in look.text("h1")
    assert f"{size:,}" in look.text(".cards")
    assert look.js("return document.querySelectorAll('figure[data-drawn] .js-plotly-plot').length") == 5
    # Plotly has drawn marks, not only axes.
    assert look.js("return document.querySelectorAll('figure .trace').length") >= 5
    if size == 1000:
        look.keep("study")
        look.open(f"{site}/adamtune/study/2")
        look.keep("study-dark", dark=True)
        look.keep("study-phone", width=390, height=844)


def test_from_the_leaderboard_to_optuna_dashboard_and_back(look, site):
    look.open(f"{site}/")
    assert "/adamtune/" in look.driver.current_url
    rows = look.js("return document.querySelectorAll('#studies tbody tr').length")
    assert rows == len(SIZES) + 1 and "somebody else's" in look.text()
    look.keep("leaderboard")
    look.click("#studies a[href='/adamtune/study/1']")
    look.until("return document.querySelector('h1')?.innerText.includes('digits-60')")
    look.drawn()
    look.click(".links a[href^='/dashboard']")
    look.until("return location.pathname.startsWith('/dashboard/studies/1')")
    look.until("return document.body.innerText.includes('digits-60')")
    look.until("return document.querySelectorAll('.js-plotly-plot').length > 0")
    look.keep("optuna-dashboard")
    look.driver.back()
    look.until("return document.querySelector('h1')?.innerText.includes('digits-60')")
    assert [each for each in look.errors() if "/adamtune/" in each] == []


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("tasks", "What adamtune came with"),
        ("recommend?task=image-classification&n_samples=50000&batch_size=128", "Why"),
        ("compare", "Choose one study"),
        ("compare?a=1", "The optimizers of"),
        ("compare?a=1&b=2", "default Adam"),
        ("study/99", "there is no study 99"),
        ("study/4", "was not made by adamtune"),
    ],
)
def test_every_page_opens_without_an_error_on_the_console(look, site, path, says):
    look.driver.get(f"{site}/adamtune/{path}")
    look.until("return [...document.querySelectorAll('figure[data-figure]')].every((each) => each.dataset.drawn)")
    assert says in look.text("main")
    expected = r"study/(4|99) - Failed to load resource: .* status of 404" if path in ("study/4", "study/99") else "^$"
    assert [each for each in look.errors() if not re.search(expected, each)] == []
    name = re.split(r"[?/]", path)[0]
    if "=" in path or name == "tasks":
        look.keep(name if "b=" in path or name != "compare" else "optimizers")


def test_the_page_of_a_task_shows_its_list_and_what_came_of_it(look, site):
    look.open(f"{site}/adamtune/tasks")
    look.click("main table a")
    look.until("return location.pathname.startsWith('/adamtune/task/')")
    look.until("return document.readyState === 'complete'")
    text = look.text("main")
    assert "This very task has been studied" in text and "What its last study was recommended" in text
    assert look.errors() == []
    look.keep("task")


def test_lines_are_copied(look, site):
    look.driver.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"], "origin": site}
    )
    look.open(f"{site}/adamtune/study/1")
    look.click("button[data-copy=code]")
    look.until("return document.getElementById('said').textContent === 'Copied to the clipboard.'")
    copied = look.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied == look.text("#code") and "model.compile(" in copied
    compile(copied, "copied", "exec")


def test_rows_are_sorted_and_filtered(look, site):
    look.open(f"{site}/adamtune/")

    def column(at):
        return look.js(
            "return [...document.querySelectorAll('#studies tbody tr:not([hidden])')]"
            ".map((row) => Number(row.cells[arguments[0]].dataset.value))",
            at,
        )

    for _ in range(2):
        look.click("#studies th:nth-child(7) button")
    assert column(6) == sorted(column(6), reverse=True) and column(6)[0] == 4000
    look.click("#studies th:nth-child(4) button")
    assert column(3) == sorted(column(3))
    look.js(
        "const field = document.querySelector('[data-filters]'); field.value = 'digits-1000';"
        "field.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    assert column(6) == [1000]


def test_a_page_follows_a_study_that_runs(look, tmp_path):
    url = f"sqlite:///{tmp_path / 'live.db'}"
    opened = storage.open_storage(url)
    study, happening = many.events(opened, 200, name="live", exact=True)
    for _ in range(70):
        next(happening)
    storage.flush(opened)
    app, database = dashboard.make(url)
    with browsers.served(app) as site:
        look.open(f"{site}/adamtune/study/1")
        assert "running" in look.text("h1")
        look.js("scrollTo(0, 300); document.querySelector('details').open = true")
        before = look.text(".cards")
        for _ in happening:
            pass
        many.conclude(study)
        storage.flush(opened)
        look.until("return document.querySelector('h1 .state').innerText === 'finished'")
        assert look.text(".cards") != before and "200" in look.text(".cards")
        assert look.js("return document.querySelector('details').open && scrollY > 0")
        look.drawn()
        assert look.js("return document.querySelectorAll('figure[data-drawn]').length") == 5
    database.close()
    storage.close(opened)


def test_a_report_opens_from_a_file_without_a_network(look, url, tmp_path):
    opened = storage.open_storage(url)
    from adamtune.tuning import study as studies

    file = report.write(studies.find(opened, NAME.format(1000)), tmp_path / "report.html")
    storage.close(opened)
    with browsers.opened() as alone:
        alone.offline()
        alone.open(file.as_uri())
        assert "digits-1000" in alone.text("h1")
        assert alone.js("return document.querySelectorAll('figure[data-drawn] .js-plotly-plot').length") == 5
        assert alone.js("return performance.getEntriesByType('resource').length") == 0
        alone.click("button[data-copy=code]")
        alone.until("return document.getElementById('said').textContent === 'Copied to the clipboard.'")


def test_on_a_phone_nothing_is_wider_than_the_screen_and_everything_has_a_name(look, site):
    look.look(width=390, height=844)
    for path in ("", "study/2", "recommend?task=table-regression", "compare?a=1&b=2", "tasks"):
        look.open(f"{site}/adamtune/{path}")
        assert look.js("return document.documentElement.scrollWidth <= document.documentElement.clientWidth"), path
        nameless = look.js(
            "return [...document.querySelectorAll('a[href], button, input, select, figure, [role=region]')]"
            ".filter((each) => !each.closest('.js-plotly-plot'))"
            ".filter((each) => !(each.textContent.trim() || each.ariaLabel || each.getAttribute('aria-labelledby')"
            " || each.labels?.length)).map((each) => each.outerHTML)"
        )
        assert nameless == [], path
        assert look.js("return document.querySelectorAll('h1').length") == 1
        assert look.js("return document.documentElement.lang") == "en"


def test_names_from_the_database_are_text(look, tmp_path):
    evil = "<img src=x onerror=\"document.title='owned'\"></script><script>document.title='owned'</script>"
    url = f"sqlite:///{tmp_path / 'evil.db'}"
    opened = storage.open_storage(url)
    many.made(opened, 60, name=evil, exact=True, task=evil, device=evil)
    storage.close(opened)
    app, database = dashboard.make(url)
    with browsers.served(app) as site:
        for path in ("", "study/1", "compare?a=1", "compare?a=1&b=1"):
            look.open(f"{site}/adamtune/{path}")
            assert "<img src=x" in look.text() and "owned" not in look.driver.title.partition("<")[0]
            assert look.js("return document.querySelectorAll('img, main script:not([type])').length") == 0
    database.close()
