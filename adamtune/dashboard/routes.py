"""What is served: our pages under /adamtune/, and optuna-dashboard under every other path, which it wants."""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Callable, Iterable
from typing import Any

import bottle
import optuna_dashboard

from adamtune import pages, recommending, report, summary
from adamtune.dashboard.database import Database
from adamtune.dashboard.guard import Application
from adamtune.errors import AdamTuneError, StudyError
from adamtune.pages import comparison, leaderboard, tasks
from adamtune.pages import study as study_page
from adamtune.plots import compact, drawing
from adamtune.recommending import describing
from adamtune.tuning.storage import redact

_K = 5
# Static files change with the version alone; a browser may keep them for an hour.
_KEPT = "max-age=3600"
_ASKED = ("n_samples", "batch_size", "epochs", "n_classes", "n_weights")


def application(database: Database, artifacts: Any = None) -> Application:
    """Both as one WSGI application.

    Parameters
    ----------
    artifacts : optuna.artifacts store, optional
        Where studies keep their files.
    """
    ours, theirs = own(database), optuna_dashboard.wsgi(database.storage, artifact_store=artifacts)

    def dispatch(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path in ("", "/", "/adamtune"):
            start_response("303 See Other", [("Location", "/adamtune/"), ("Content-Length", "0")])
            return []
        found: Iterable[bytes] = (ours if path.startswith("/adamtune/") else theirs)(environ, start_response)
        return found

    return dispatch


def own(database: Database) -> bottle.Bottle:
    """Our pages."""
    app = bottle.Bottle()
    where = redact(database.url)

    def page(template: str, title: str, **values: Any) -> str:
        bottle.response.set_header("Cache-Control", "no-cache")
        return pages.render(template, title=title, where=where, **values)

    def live(study_id: int | None = None) -> str:
        """The version of what a page shows; a browser that has it already is told so."""
        version = database.version(study_id)
        if bottle.request.get_header("If-None-Match") == f'"{version}"':
            raise bottle.HTTPResponse(status=304)
        bottle.response.set_header("ETag", f'"{version}"')
        return version

    def asked(name: str) -> int | None:
        """A number of the query; None where it is empty."""
        text = bottle.request.query.get(name, "").strip().replace(",", "")
        if not text:
            return None
        if not text.isdecimal() or not 0 < int(text) < 2**53:
            raise bottle.HTTPError(400, f"{name}={text[:40]!r}: expected a whole number above 0.")
        return int(text)

    def study_of(study_id: int) -> Any:
        found = database.summary(study_id)
        if found is None:
            raise StudyError(f"study {study_id} was not made by adamtune: look at it at /dashboard/studies/{study_id}.")
        return found

    @app.get("/adamtune/")
    def studies() -> str:
        version = live()
        named = database.names()
        found = [(study_id, database.summary(study_id)) for study_id in reversed(named)]
        rows = [leaderboard.row(study_id, each) for study_id, each in found if each is not None]
        others = [(study_id, summary.printable(named[study_id])) for study_id, each in found if each is None]
        here = "/adamtune/"
        return page("leaderboard.html", "Studies", rows=rows, others=others, version=version, here=here)

    @app.get("/adamtune/study/<study_id:int>")
    def study(study_id: int) -> str:
        found = study_of(study_id)
        version = live(study_id)
        shown = database.kept(study_id, "page", study_page.view)
        figures = [(name, None) for name in compact.KINDS]
        values = {"figures": figures, "study_id": study_id, "version": version}
        return page("study_page.html", summary.printable(found.name), page=shown, **values)

    @app.get("/adamtune/study/<study_id:int>/figure/<kind:re:[a-z_]+>.json")
    def figure(study_id: int, kind: str) -> Any:
        if kind not in compact.KINDS:
            raise bottle.HTTPError(404, f"there is no figure {kind!r}.")
        study_of(study_id)
        live(study_id)
        if (made := _figure(database, study_id, kind)) is None:
            return bottle.HTTPResponse(status=204)
        bottle.response.content_type = "application/json"
        bottle.response.set_header("Cache-Control", "no-cache")
        return made

    @app.get("/adamtune/study/<study_id:int>/report.html")
    def report_of(study_id: int) -> str:
        name = study_of(study_id).name
        safe = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name)[:80]
        bottle.response.set_header("Content-Disposition", f'attachment; filename="{safe}.html"')
        return report.text(database.study(study_id), "html")

    @app.get("/adamtune/tasks")
    def all_tasks() -> str:
        rows = [tasks.view(each, ()) for each in database.tasks()]
        kinds: dict[str, int] = {}
        for each in recommending.shipped():
            kinds[each.source.kind] = kinds.get(each.source.kind, 0) + 1
        return page("tasks.html", "Tasks", rows=rows, kinds=sorted(kinds.items()), here="/adamtune/tasks")

    @app.get("/adamtune/task/<fingerprint:re:[0-9a-f]+>")
    def task(fingerprint: str) -> str:
        entry = next((each for each in database.tasks() if each.source.fingerprint == fingerprint), None)
        if entry is None:
            raise StudyError(f"there is no task {fingerprint!r} in this database.")
        shown = tasks.view(entry, tuple(database.recommended(entry.study_name)))
        found = recommending.again(entry.source, _K, database.url)
        study_id = next((each for each, name in database.names().items() if name == entry.study_name), None)
        values = {"advice": found, "advised": tasks.advised(found), "study_id": study_id}
        return page("task.html", shown.title, page=shown, **values)

    @app.get("/adamtune/recommend")
    def recommend() -> str:
        kind = bottle.request.query.get("task", "")
        said = {name: asked(name) for name in _ASKED}
        found, problem = None, ""
        if kind:
            try:
                found = recommending.recommend(task=kind, k=_K, storage=database.url, **said)  # type: ignore[arg-type]
            except AdamTuneError as error:
                problem = str(error)
        values = {"found": found, "advised": tasks.advised(found) if found else [], "problem": problem, "kind": kind}
        names = {"kinds": describing.KINDS, "said": said, "here": "/adamtune/recommend"}
        return page("recommend.html", "Recommend", **values, **names)

    @app.get("/adamtune/compare")
    def compare() -> str:
        chosen = [number for number in (asked("a"), asked("b")) if number is not None]
        both = comparison.sides([(each, database.study(each)) for each in chosen if study_of(each)])
        named = [(each, summary.printable(name)) for each, name in database.names().items() if database.summary(each)]
        optimizers = comparison.by_optimizer(database.study(chosen[0])) if len(chosen) == 1 else []
        drawn = comparison.figure([database.study(each) for each in chosen]) if len(chosen) == 2 else None
        values = {"both": both, "rows": comparison.rows(both) if len(both) == 2 else [], "named": named[::-1]}
        return page(
            "compare.html",
            "Compare",
            optimizers=optimizers,
            figure=drawn,
            comparable=comparison.comparable(both),
            chosen=[*chosen, None, None][:2],
            **values,
        )

    @app.get("/adamtune/api/studies")
    def api() -> str:
        bottle.response.content_type = "application/json"
        found = {study_id: database.summary(study_id) for study_id in database.names()}
        return json.dumps([{"id": key} | each.to_dict() for key, each in found.items() if each is not None])

    @app.get("/adamtune/static/plotly.js")
    def plotly() -> Any:
        zipped = "gzip" in (bottle.request.get_header("Accept-Encoding") or "")
        headers = {"Content-Type": "text/javascript; charset=utf-8", "Cache-Control": _KEPT}
        return bottle.HTTPResponse(_plotly(zipped), headers=headers | ({"Content-Encoding": "gzip"} if zipped else {}))

    @app.get("/adamtune/static/<name:re:[a-z]+[.](?:css|js|svg)>")
    def static(name: str) -> Any:
        return bottle.static_file(name, root=str(pages.STATIC), headers={"Cache-Control": "no-cache"})

    def telling(callback: Callable[..., Any]) -> Callable[..., Any]:
        """An error of ours is a page that says so."""

        @functools.wraps(callback)
        def told(*given: Any, **named: Any) -> Any:
            try:
                return callback(*given, **named)
            except AdamTuneError as error:
                return failed(bottle.HTTPError(404 if isinstance(error, StudyError) else 400, str(error)))

        return told

    def failed(error: bottle.HTTPError) -> str:
        bottle.response.status = status = error.status_code
        said = error.body if status < 500 else "something went wrong here; the dashboard's terminal says what."
        return page("error.html", f"Error {status}", said=summary.printable(str(said)))

    app.install(telling)
    app.default_error_handler = failed
    return app


def warm(database: Database) -> None:
    """Make what somebody will ask for soon: the figures of the newest study, and what the leaderboard says."""
    for at, study_id in enumerate(reversed(database.names())):
        if database.summary(study_id) is not None and not at:
            database.kept(study_id, "page", study_page.view)
            for kind in compact.KINDS:
                _figure(database, study_id, kind)
    _plotly(True)


def _figure(database: Database, study_id: int, kind: str) -> str | None:
    """A figure as JSON of Plotly; None where the study does not hold enough for it."""
    if (seen := database.kept(study_id, "seen", study_page.seen)) is None:
        return None
    return database.kept(study_id, f"figure {kind}", lambda study: study_page.figure(study, seen, kind))


@functools.cache
def _plotly(zipped: bool) -> bytes:
    script = drawing.plotly_script().encode()
    return gzip.compress(script, 6) if zipped else script
