"""One exception type for each boundary that a user can cross.

Every message says what was given, what is allowed and what to do. The command line turns each of these into exit code 2
(bad input), except `TrainingError`, which means that a run stopped by itself (exit code 1).
"""

__all__ = [
    "ConfigError",
    "DataError",
    "JudgeError",
    "ModelError",
    "ProxygoldError",
    "RewardError",
    "StoreError",
    "TrainingError",
]


class ProxygoldError(Exception):
    """Base of every error that proxygold raises on purpose."""


class ConfigError(ProxygoldError):
    """A study file, an override or a setting is wrong."""


class DataError(ProxygoldError):
    """A data file or a record in it is wrong."""


class RewardError(ProxygoldError):
    """A reward line is wrong, or a reward cannot score what it was given."""


class ModelError(ProxygoldError):
    """A model, an encoder or a reward model cannot be loaded or used."""


class JudgeError(ProxygoldError):
    """An LLM endpoint (annotator or judge) failed."""


class StoreError(ProxygoldError):
    """A run directory is damaged, locked, full, or belongs to another study."""


class TrainingError(ProxygoldError):
    """Training stopped itself: a loss that is not finite, or too many rewards that could not be computed."""
