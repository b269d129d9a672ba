"""A reward over HTTP: the FastAPI application behind `proxygold serve`.

- `POST /score`: examples to totals, parts and reasons.
- `POST /get_reward`: the same reward as OpenRLHF asks for it (`--reward.remote_url http://host:port/get_reward`).
- `GET /reward`, `/health`, `/metrics` (Prometheus), `/docs` and `/openapi.json`.

Requests that come while others are scored share a batch (see `batching`), and get what they would have got alone.
What is wrong in a request is answered by 422 with what was given and what is allowed; too much of it by 413 or 422;
more than the queue holds by 503, and the same request a moment later is welcome.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from proxygold import __version__
from proxygold.errors import ConfigError, DataError, ProxygoldError, RewardError
from proxygold.integrations.batching import Batcher, QueueFullError, ScoredRow
from proxygold.integrations.openrlhf_rows import answer_rows, row_of, submit_rows
from proxygold.integrations.server_gate import Gate
from proxygold.integrations.server_metrics import Metrics
from proxygold.integrations.server_models import (
    GetRewardAnswer,
    GetRewardRequest,
    Health,
    Limits,
    Problem,
    RewardCard,
    Score,
    ScoreAnswer,
    ScoreRequest,
)
from proxygold.integrations.server_requests import mistakes, read_examples
from proxygold.records import Example
from proxygold.rewards.language import to_line
from proxygold.rewards.runtime import Reward
from proxygold.rewards.tree import FeatureUse, RewardModelUse, walk

__all__ = ["ServerSettings", "create_app", "warm_up"]

_log = logging.getLogger(__name__)

_PATHS = ("/score", "/get_reward", "/reward", "/health", "/metrics", "/docs", "/openapi.json")

# Reasons told once each in the server's own log; a user's feature may give every row another.
_REASONS_TOLD = 20

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body cannot be read."},
    401: {"model": Problem, "description": "The key is missing or wrong."},
    413: {"model": Problem, "description": "The body is too large."},
    422: {"model": Problem, "description": "Something in the request cannot be used, or is too much."},
    503: {"model": Problem, "description": "Too much is waiting: try again in a moment."},
}


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How the server answers.

    - `fallback`: what /get_reward gives for a completion without a score: OpenRLHF takes no null.
    - `max_examples`, `max_body_bytes`: the most that one request may hold.
    - `max_batch`, `max_wait_ms`, `max_queue`: as in `Batcher`.
    - `api_key`: what every request but /health must bring; None: nothing.
    """

    fallback: float = 0.0
    max_examples: int = 1024
    max_body_bytes: int = 16 * 2**20
    max_batch: int = 512
    max_wait_ms: float = 2.0
    max_queue: int = 65_536
    api_key: str | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.fallback):
            raise ConfigError(f"the fallback is {self.fallback}; give a finite number, such as 0.")
        if self.max_examples < 1 or self.max_body_bytes < 1:
            raise ConfigError("a request must be allowed at least 1 example and 1 byte.")
        key = self.api_key
        if key is not None and not (key.isascii() and key.isprintable() and key.split() == [key]):
            raise ConfigError("the key is empty, or has white space or other than ASCII characters. Give one without.")


def warm_up(reward: Reward) -> None:
    """Load what the reward needs, and score two examples, so that the first request does not wait for it.

    Raises ModelError when a model cannot be loaded, RewardError when the reward has a `match` that was not measured.
    """
    reward.score([])
    _ = reward.reward_id
    try:
        reward.score([Example("a", "b c d", "e", kind) for kind in ("open_ended", "closed_ended")])
    except RewardError as error:  # a feature may want more of an example than these have
        _log.info("warming up: %s", error)


def create_app(reward: Reward, settings: ServerSettings | None = None) -> FastAPI:
    """The application for one reward. Call `warm_up` first, or let the first request wait."""
    settings = settings or ServerSettings()
    metrics = Metrics(_PATHS, str(reward), reward.reward_id)
    batcher = Batcher(
        reward.score,
        max_batch=settings.max_batch,
        max_wait_ms=settings.max_wait_ms,
        max_queue=settings.max_queue,
        on_batch=metrics.batch,
    )
    metrics.watch_queue(lambda: batcher.waiting)
    leaves = list(
        dict.fromkeys(to_line(node) for node in walk(reward.tree) if isinstance(node, FeatureUse | RewardModelUse))
    )
    told: set[str] = set()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        batcher.close()

    app = FastAPI(
        title="proxygold",
        version=__version__,
        summary=f"The reward {reward} over HTTP.",
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(Gate, api_key=settings.api_key, max_body_bytes=settings.max_body_bytes, observe=metrics.request)
    _answer_errors(app)

    def within_limit(count: int) -> None:
        if count > settings.max_examples:
            raise DataError(
                f"the request has {count:,} examples; at most {settings.max_examples:,} are allowed. Send fewer at a "
                "time, or start the server with a larger --max-examples."
            )

    @app.post("/score", responses=_PROBLEMS, summary="Score examples")
    async def score(request: ScoreRequest) -> ScoreAnswer:
        within_limit(len(request.examples))
        examples = read_examples(request.examples, reward)
        rows = await batcher.score_async(examples)
        metrics.rows("/score", rows)
        return ScoreAnswer(scores=[_score(row) for row in rows])

    @app.post("/get_reward", responses=_PROBLEMS, summary="Score completions as OpenRLHF asks for them")
    async def get_reward(request: GetRewardRequest) -> GetRewardAnswer:
        labels = [None] * len(request.query) if request.labels is None else request.labels
        if not len(request.query) == len(request.prompts) == len(labels):
            raise DataError(
                f"query, prompts and labels have {len(request.query)}, {len(request.prompts)} and {len(labels)} "
                "entries; each completion needs one of each."
            )
        within_limit(len(request.query))
        futures = submit_rows(batcher, request.query, request.prompts, labels)
        results = await asyncio.gather(*map(asyncio.wrap_future, futures), return_exceptions=True)
        rows = [row_of(result) for result in results]
        metrics.rows("/get_reward", rows)
        for reason in {row.reason for row in rows if row.reason is not None} - told:
            if len(told) < _REASONS_TOLD:
                told.add(reason)
                _log.warning("/get_reward gives %s where there is no score: %s", settings.fallback, reason)
        rewards, logs = answer_rows(rows, leaves, settings.fallback)
        return GetRewardAnswer(rewards=rewards, scores=rewards, extra_logs=logs)

    @app.get("/reward", responses={401: _PROBLEMS[401]}, summary="Which reward this is")
    async def card() -> RewardCard:
        return RewardCard(
            reward=str(reward),
            reward_id=reward.reward_id,
            name=reward.__name__,
            leaves=leaves,
            required_columns=sorted(reward.required_columns),
            fallback=settings.fallback,
            limits=Limits(examples=settings.max_examples, body_bytes=settings.max_body_bytes),
            version=__version__,
        )

    @app.get("/health", summary="Whether requests are answered")
    async def health() -> Health:
        return Health(status="ready")

    @app.get("/metrics", responses={401: _PROBLEMS[401]}, response_class=Response, summary="Numbers for Prometheus")
    async def numbers() -> Response:
        return Response(metrics.text(), media_type=metrics.content_type)

    return app


def _score(row: ScoredRow) -> Score:
    return Score(
        total=_or_none(row.total),
        parts={part: _or_none(value) for part, value in row.parts.items()},
        reason=row.reason,
    )


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _answer_errors(app: FastAPI) -> None:
    """Every error is answered by JSON with `detail`, in our words."""

    def problem(status: int, detail: str, **headers: str) -> JSONResponse:
        return JSONResponse({"detail": detail}, status_code=status, headers=headers)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        return problem(422, mistakes(error.errors()))

    @app.exception_handler(QueueFullError)
    async def overloaded(request: Request, error: QueueFullError) -> JSONResponse:
        return problem(503, str(error), **{"Retry-After": "1"})

    @app.exception_handler(DataError)
    @app.exception_handler(RewardError)
    async def unusable(request: Request, error: ProxygoldError) -> JSONResponse:
        return problem(422, str(error))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        detail = error.detail
        if error.status_code == 400:
            detail = "the body cannot be read as JSON: it is no UTF-8 text, or is nested too deeply."
        if error.status_code in (404, 405):
            detail = (
                f"there is no {request.method} {request.url.path}. There are POST /score and /get_reward, and GET "
                "/reward, /health, /metrics and /docs."
            )
        return JSONResponse({"detail": detail}, status_code=error.status_code, headers=error.headers)
