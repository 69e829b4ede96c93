"""What a user can act on: each error says what was given, what was expected and what to try.

The command line prints these without a traceback and exits with `exit_code`; any other exception is a bug of ours
and keeps its traceback.
"""


class TStitchError(Exception):
    """A problem the user can mend: `message` says what was given and expected, `hint` what to try."""

    exit_code = 2

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  try: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[type, tuple[str, str]]:  # survives the trip from a Ray worker
        return (type(self), (self.message, self.hint))


class ConfigError(TStitchError):
    """The study, search space, allocation or command line is wrong (exit code 2)."""


class TooFewEntries(ConfigError):
    """A file of labels, prompts or control images holds fewer than the study has images; the rest may be right."""


class EnvironmentProblem(TStitchError):
    """The machine lacks something: device, disk, weights, a writable folder (exit code 3)."""

    exit_code = 3


class MeasurementError(TStitchError):
    """One allocation could not be measured; the study goes on without it (exit code 4 at the end)."""

    exit_code = 4


class QualityGateError(TStitchError):
    """Nothing satisfies the asked budget or quality (exit code 5)."""

    exit_code = 5
