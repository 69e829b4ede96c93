"""Errors for people: readable, told apart by exit code, and unharmed by a trip between processes."""

import pickle

import pytest

from tstitch_search.errors import ConfigError, EnvironmentProblem, MeasurementError, QualityGateError, TStitchError

KINDS = [ConfigError, EnvironmentProblem, MeasurementError, QualityGateError]


def test_every_kind_has_its_own_exit_code_and_none_means_success():
    assert [kind.exit_code for kind in KINDS] == [2, 3, 4, 5]


@pytest.mark.parametrize("kind", KINDS)
def test_one_handler_catches_all(kind):
    with pytest.raises(TStitchError):
        raise kind("got 3, expected 4")


def test_shown_as_message_and_what_to_try():
    assert str(ConfigError("got 3, expected 4", hint="set n to 4")) == "got 3, expected 4\n  try: set n to 4"
    assert str(ConfigError("got 3, expected 4")) == "got 3, expected 4"


@pytest.mark.parametrize("kind", KINDS)
def test_survives_the_trip_from_a_worker(kind):
    error = pickle.loads(pickle.dumps(kind("got 3, expected 4", hint="set n to 4")))
    assert (type(error), error.message, error.hint) == (kind, "got 3, expected 4", "set n to 4")
