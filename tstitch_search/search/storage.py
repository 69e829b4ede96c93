"""Where the decision record lies: a SQLite file by default, or any database that SQLAlchemy knows."""

import sqlite3
import warnings
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from sqlalchemy import event, make_url
from sqlalchemy.exc import DBAPIError

from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.search.rule import Rule

# How long a locked SQLite file is waited for, and tried again, before that is a problem.
PATIENCE_S = 60.0
REBUILD = "make room, or close what holds it, and run again; `tstitch-search repair RUN_DIR` rebuilds it"


def open_storage(database: Path | str, patience_s: float = PATIENCE_S) -> RDBStorage:
    """The storage in the SQLite file or at the SQLAlchemy URL `database`.

    A file that another program has locked is waited for. Raises EnvironmentProblem, here and in every later call, when
    the database cannot be reached, read or written.
    """
    try:
        if isinstance(database, Path):
            engine = {"creator": partial(_connect, database, patience_s)}
            storage = RDBStorage(f"sqlite:///{database}", engine_kwargs=engine)
        else:
            storage = RDBStorage(database, engine_kwargs={"pool_pre_ping": True})
    except Exception as error:  # of any type: missing drivers, bad URLs, no server, no database
        reason = getattr(error, "orig", error)  # the database's own words
        raise EnvironmentProblem(f"cannot open the study database {shown(database)}: {reason}", hint=REBUILD) from error

    @event.listens_for(storage.engine, "handle_error")
    def say(context: Any) -> None:
        error = context.sqlalchemy_exception
        if isinstance(error, DBAPIError) and type(error).__name__ in ("OperationalError", "DatabaseError"):
            raise EnvironmentProblem(
                f"the study database {shown(database)} refuses: {context.original_exception}", hint=REBUILD
            ) from error

    return storage


def open_study(database: Path | str, name: str, rule: Rule, owner: str) -> tuple[RDBStorage, optuna.Study]:
    """The storage and the study in it. Raises ConfigError when the study belongs to another run."""
    storage = open_storage(database)
    study = optuna.create_study(
        storage=storage, study_name=name, directions=["minimize", rule.direction], load_if_exists=True
    )
    other = study.user_attrs.get("ledger", owner)
    if other != owner:
        raise ConfigError(
            f"{shown(database)} holds a study {name!r} of another run folder",
            hint="give this study another name, or another storage",
        )
    if owner and "ledger" not in study.user_attrs:
        study.set_user_attr("ledger", owner)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # metric names are experimental in Optuna 5
        study.set_metric_names(["latency_s", rule.objective])
    return storage, study


def set_aside(database: Path | str, name: str) -> None:
    """Make room for a new study `name`: a file gets another name, in a shared database that study is deleted."""
    if isinstance(database, Path):
        if database.exists():
            database.replace(database.with_name(f"{database.name}.before-repair"))
        return
    storage = open_storage(database)
    with suppress(KeyError):
        storage.delete_study(storage.get_study_id_from_name(name))


def shown(database: Path | str) -> str:
    """The place of the database without its password."""
    if isinstance(database, Path):
        return str(database)
    try:
        return make_url(database).render_as_string(hide_password=True)
    except Exception:  # not a URL
        return "storage"


def _connect(database: Path, patience_s: float) -> sqlite3.Connection:
    """A connection that waits while a dashboard holds the file, and does not wait for the disk.

    Optuna commits some twenty times per trial. The ledger survives a power cut; this file survives a killed process.
    """
    connection = sqlite3.connect(database, timeout=patience_s, check_same_thread=False)
    connection.execute("PRAGMA synchronous=OFF")
    return connection
