"""Lookup tables on the Hugging Face hub: a dataset repository with the table, a card and the front as a picture."""

import json
from pathlib import Path

from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.lookup import LookupTable

PREFIX, FILE, PICTURE = "hub:", "lookup.json", "front.svg"


def load(text: str) -> LookupTable:
    """The table at `hub:owner/name`, or of a commit, tag or branch, `hub:owner/name@revision`.

    Raises EnvironmentProblem when it is not to be had, ConfigError when it is no table.
    """
    from huggingface_hub import hf_hub_download

    repository, _, revision = text.removeprefix(PREFIX).partition("@")
    _require_id(repository)
    try:
        path = hf_hub_download(repository, FILE, repo_type="dataset", revision=revision or None)
    except Exception as error:  # whatever its HTTP client raises
        raise _problem(f"{text}: no {FILE} is to be had there", error) from error
    return LookupTable.read(Path(path))


def push(table: LookupTable, repository: str, private: bool) -> str:
    """The address of the table's repository, which is made where it is not there; what it held is replaced.

    Raises EnvironmentProblem when the hub does not take it.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    from tstitch_search.report.card import card, front_svg

    _require_id(repository)
    contents = {
        FILE: json.dumps(table.to_json(), indent=2, allow_nan=False),
        PICTURE: front_svg(table),
        "README.md": card(table, repository, PICTURE),
    }
    files = [CommitOperationAdd(name, text.encode()) for name, text in contents.items()]
    hub = HfApi()
    try:
        made = hub.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
        hub.create_commit(repository, files, commit_message=table.study, repo_type="dataset")
    except Exception as error:  # whatever its HTTP client raises
        raise _problem(f"the hub did not take the table as {repository}", error) from error
    return str(made)


def _require_id(repository: str) -> None:
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise ConfigError(f"{repository!r} is no repository of the hub", hint="give it as owner/name")


def _problem(what: str, error: Exception) -> EnvironmentProblem:
    first_line = (str(error).splitlines() or [type(error).__name__])[0]
    return EnvironmentProblem(
        f"{what}: {first_line}", hint="check the name and the network; log in with `hf auth login`, or set HF_TOKEN"
    )
