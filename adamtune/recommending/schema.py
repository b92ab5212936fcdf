"""The Store's tables, beside Optuna's in the same database: their names begin with "adamtune_".

None refers to one of Optuna's by its keys, which change when a study is copied: a task names its study, and an
evaluation its trial.
"""

from __future__ import annotations

import sqlalchemy
from sqlalchemy import Column, Float, ForeignKey, Integer, LargeBinary, String, Table, Text
from sqlalchemy.dialects import mysql

metadata = sqlalchemy.MetaData()
facts = Table(
    "adamtune_store",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
tasks = Table(
    "adamtune_tasks",
    metadata,
    Column("task_id", Integer, primary_key=True),
    Column("fingerprint", String(64), nullable=False, unique=True),
    Column("name", String(512), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("family", String(64), nullable=False),
    Column("data", String(64), nullable=False),
    Column("untrained", Float(53), nullable=False),
    Column("study_name", String(512)),
    Column("made", sqlalchemy.DateTime, nullable=False),
)
features = Table(
    "adamtune_meta_features",
    metadata,
    Column("task_id", Integer, ForeignKey(tasks.c.task_id), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("value", Float(53), nullable=False),
)
configs = Table(
    "adamtune_configs",
    metadata,
    Column("config_id", Integer, primary_key=True),
    Column("digest", String(32), nullable=False, unique=True),
    Column("source", String(64), nullable=False),
    Column("config", Text, nullable=False),
)
evaluations = Table(
    "adamtune_evaluations",
    metadata,
    Column("task_id", Integer, ForeignKey(tasks.c.task_id), primary_key=True),
    Column("config_id", Integer, ForeignKey(configs.c.config_id), primary_key=True),
    Column("passes", Integer, nullable=False),
    Column("last", Float(53)),
    Column("best", Float(53)),
    Column("trial_number", Integer),
)
curves = Table(
    "adamtune_evaluation_curves",
    metadata,
    Column("task_id", Integer, ForeignKey(tasks.c.task_id), primary_key=True),
    Column("config_id", Integer, ForeignKey(configs.c.config_id), primary_key=True),
    Column("epochs", Integer, nullable=False),
    Column("losses", LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql"), nullable=False),
)
recommendations = Table(
    "adamtune_recommendations",
    metadata,
    Column("recommendation_id", Integer, primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("study_name", String(512), nullable=False),
    Column("place", Integer, nullable=False),  # MySQL keeps the word rank for itself
    Column("config", Text, nullable=False),
    Column("gain", Float(53), nullable=False),
    Column("low", Float(53), nullable=False),
    Column("high", Float(53), nullable=False),
    Column("made", sqlalchemy.DateTime, nullable=False),
)
outcomes = Table(
    "adamtune_outcomes",
    metadata,
    Column("recommendation_id", Integer, ForeignKey(recommendations.c.recommendation_id), primary_key=True),
    Column("trial_number", Integer, nullable=False),
    Column("loss", Float(53)),
)
