"""Silence while a model loads: a library's progress bars and load reports are not ours to print."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet_loading"]


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Keep transformers and sentence-transformers from printing within the block; errors get through."""
    from transformers.utils import logging as transformers_logging

    sentence_logger = logging.getLogger("sentence_transformers")
    before = (
        transformers_logging.is_progress_bar_enabled(),
        transformers_logging.get_verbosity(),
        sentence_logger.level,
    )
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    sentence_logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        if before[0]:
            transformers_logging.enable_progress_bar()
        transformers_logging.set_verbosity(before[1])
        sentence_logger.setLevel(before[2])
