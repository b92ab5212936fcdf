"""Makes the two Grafana dashboards out of ../sql: panels ask what those files ask, and what the tests check.

python dashboards/grafana/build.py
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SQL = HERE.parent / "sql"

# A variable of the dashboard, so that one file serves every Grafana, whatever its data source is called.
SOURCE = "${DS_ADAMTUNE}"
STUDY = "${study:sqlstring}"  # quoted by Grafana
MINUTES = "${stale_minutes}"

STUDIES = """\
SELECT s.study_name
FROM studies AS s
JOIN study_user_attributes AS ours ON ours.study_id = s.study_id AND ours.key = 'adamtune:schema'
ORDER BY s.study_id DESC"""


@dataclass(frozen=True)
class Dialect:
    """All that differs between the databases: two expressions."""

    name: str
    title: str
    plugin: str  # Grafana's id of the kind of data source
    moment: str  # the type of a date with its time
    before: str  # the moment so many minutes ago, in UTC


DIALECTS = (
    Dialect(
        "postgres",
        "PostgreSQL",
        "grafana-postgresql-datasource",
        "TIMESTAMP",
        f"timezone('UTC', now()) - INTERVAL '1 minute' * {MINUTES}",
    ),
    Dialect("mysql", "MySQL", "mysql", "DATETIME", f"UTC_TIMESTAMP() - INTERVAL {MINUTES} MINUTE"),
)


def query(name: str, dialect: Dialect) -> str:
    """A file of ../sql, with Grafana's variables where values are bound."""
    bound = {"study": STUDY, "before": dialect.before}
    text = (SQL / f"{name}.sql").read_text(encoding="utf-8").strip().removesuffix(";")
    return re.sub(r"(?<!\w):(\w+)", lambda part: bound[part[1]], text)


def throughput(column: str, dialect: Dialect) -> str:
    """Minutes as moments: Grafana draws these over time, and asks for those in view alone."""
    return f"""\
SELECT moment AS time, study AS metric, {column}
FROM (
SELECT CAST(minute AS {dialect.moment}) AS moment, study, {column}
FROM (
{query("throughput", dialect)}
) AS throughput
) AS in_time
WHERE $__timeFilter(moment)
ORDER BY moment"""


def prune_rate(dialect: Dialect) -> str:
    """The rungs of the chosen study; as text, which a bar chart needs below its bars."""
    return f"""\
SELECT CONCAT(epochs, ' epochs') AS rung, share
FROM (
{query("prune_rate", dialect)}
) AS prune_rate
WHERE study = {STUDY}
ORDER BY epochs"""


def curves(dialect: Dialect) -> str:
    """A column for each trial: what a panel with a number as its x axis reads."""
    columns = ", ".join(f'MAX(CASE WHEN place = {place} THEN value END) AS "place {place}"' for place in range(1, 6))
    return f"""\
SELECT epochs, {columns}
FROM (
{query("curves", dialect)}
) AS curves
GROUP BY epochs
ORDER BY epochs"""


def panels(dialect: Dialect) -> list[dict[str, Any]]:
    """From top to bottom; the first number of each is its id, by which links and alerts know it."""
    bars = {"drawStyle": "bars", "fillOpacity": 60, "stacking": {"mode": "normal", "group": "A"}}
    lines = {"drawStyle": "line", "showPoints": "auto", "spanNulls": True}  # trials may report at different epochs
    share = {"unit": "percentunit", "min": 0, "max": 1}
    made = [
        _panel(1, "Studies", "table", (0, 0, 24, 9), query("leaderboard", dialect)),
        _panel(2, "Finished trials a minute", "timeseries", (0, 9, 12, 8), throughput("trials", dialect), custom=bars),
        _panel(3, "Their epochs a minute", "timeseries", (12, 9, 12, 8), throughput("epochs", dialect), custom=bars),
        _panel(4, "Best trials of $study", "trend", (0, 17, 12, 9), curves(dialect), {"xField": "epochs"}, lines),
        _panel(
            5, "Pruned at each rung of $study", "barchart", (12, 17, 12, 9), prune_rate(dialect), {"xField": "rung"}
        ),
        _panel(6, f"Running for more than {MINUTES} minutes", "table", (0, 26, 24, 7), query("stale_trials", dialect)),
    ]
    made[4]["fieldConfig"]["defaults"] |= share
    for panel in made:
        source = {"type": dialect.plugin, "uid": SOURCE}
        panel["datasource"] = source
        panel["targets"][0]["datasource"] = source
    return made


def dashboard(dialect: Dialect) -> dict[str, Any]:
    """A whole dashboard, as Grafana imports it."""
    return {
        "uid": f"adamtune-{dialect.name}",
        "title": f"adamtune ({dialect.title})",
        "description": "Studies of adamtune. Made by dashboards/grafana/build.py: change them there.",
        "tags": ["adamtune"],
        "schemaVersion": 39,
        "editable": True,
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "utc",  # as in the tables
        "refresh": "1m",
        "templating": {
            "list": [
                {
                    "name": "DS_ADAMTUNE",
                    "label": "database",
                    "type": "datasource",
                    "query": dialect.plugin,
                    "refresh": 1,
                },
                {
                    "name": "study",
                    "type": "query",
                    "datasource": {"type": dialect.plugin, "uid": SOURCE},
                    "definition": STUDIES,
                    "query": STUDIES,
                    "refresh": 2,  # whenever the time range changes; 1 is on opening alone
                    "sort": 0,  # newest first, as asked
                },
                {
                    "name": "stale_minutes",
                    "label": "stale after (minutes)",
                    "type": "custom",
                    "query": "10,60,360,1440",
                    "current": {"text": "60", "value": "60"},
                    "options": [
                        {"text": text, "value": text, "selected": text == "60"} for text in ("10", "60", "360", "1440")
                    ],
                },
            ]
        },
        "panels": panels(dialect),
    }


def text_of(dialect: Dialect) -> str:
    """A dashboard as the text of its file."""
    return json.dumps(dashboard(dialect), indent=2) + "\n"


def file_of(dialect: Dialect) -> Path:
    """Where a dashboard is kept."""
    return HERE / f"adamtune-{dialect.name}.json"


def _panel(
    number: int,
    title: str,
    kind: str,
    place: tuple[int, int, int, int],
    sql: str,
    options: dict[str, Any] | None = None,
    custom: dict[str, Any] | None = None,
) -> dict[str, Any]:
    x, y, width, height = place
    return {
        "id": number,
        "title": title,
        "type": kind,
        "gridPos": {"x": x, "y": y, "w": width, "h": height},
        "fieldConfig": {"defaults": {"custom": custom or {}}, "overrides": []},
        "options": options or {},
        "targets": [
            {
                "refId": "A",
                "editorMode": "code",
                "rawQuery": True,
                "format": "time_series" if kind == "timeseries" else "table",
                "rawSql": sql,
            }
        ],
    }


if __name__ == "__main__":
    for each in DIALECTS:
        file_of(each).write_text(text_of(each), encoding="utf-8")
        print(file_of(each))
