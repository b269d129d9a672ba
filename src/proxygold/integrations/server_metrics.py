"""The server's numbers, in the form that Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from proxygold.integrations.batching import ScoredRow

__all__ = ["Metrics"]

_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180)


class Metrics:
    """Counts of one server. `paths`: what requests are told apart by; any other path counts as `other`."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, paths: Collection[str], line: str, reward_id: str) -> None:
        self._paths = frozenset(paths)
        # Its own registry: a process may hold two servers, and tests hold many.
        registry = self._registry = CollectorRegistry()
        self._requests = Counter("proxygold_requests", "Requests answered.", ("path", "status"), registry=registry)
        self._request_seconds = Histogram(
            "proxygold_request_seconds", "From request to answer.", ("path",), buckets=_SECONDS, registry=registry
        )
        self._rows = Counter("proxygold_rows", "Examples that were asked for.", ("path",), registry=registry)
        self._not_scored = Counter(
            "proxygold_rows_not_scored", "Examples among them without a score.", ("path",), registry=registry
        )
        self._batch_calls = Histogram(
            "proxygold_batch_calls", "Requests scored together.", buckets=_ROWS, registry=registry
        )
        self._batch_rows = Histogram(
            "proxygold_batch_rows", "Examples scored together.", buckets=_ROWS, registry=registry
        )
        self._batch_seconds = Histogram(
            "proxygold_batch_seconds", "Time to score a batch.", buckets=_SECONDS, registry=registry
        )
        self._waiting = Gauge("proxygold_queue_rows", "Examples that wait to be scored.", registry=registry)
        about = Gauge("proxygold_reward_info", "The reward; always 1.", ("line", "reward_id"), registry=registry)
        about.labels(line, reward_id).set(1)
        for path in ("/score", "/get_reward"):  # known before the first is counted, so that rates are right
            self._rows.labels(path)
            self._not_scored.labels(path)

    def watch_queue(self, waiting: Callable[[], float]) -> None:
        """Where to read how many examples wait."""
        self._waiting.set_function(waiting)

    def request(self, path: str, status: int, seconds: float) -> None:
        """One request, answered."""
        path = path if path in self._paths else "other"
        self._requests.labels(path, str(status)).inc()
        self._request_seconds.labels(path).observe(seconds)

    def rows(self, path: str, rows: Sequence[ScoredRow]) -> None:
        """The rows of one answer."""
        self._rows.labels(path).inc(len(rows))
        self._not_scored.labels(path).inc(sum(row.reason is not None for row in rows))

    def batch(self, calls: int, rows: int, seconds: float) -> None:
        """One batch, scored."""
        self._batch_calls.observe(calls)
        self._batch_rows.observe(rows)
        self._batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """All numbers as they are now."""
        return generate_latest(self._registry)
