"""Settings of a reward model: which, of what architecture, how its text is written, and where it is computed.

Kept apart from what loads one, so that a study file and a reward line can be read without a deep-learning library.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from proxygold.errors import ConfigError

__all__ = ["CHAT", "REMOTE_FORMS", "RewardModelSettings", "reward_model_settings"]

# The template that is the tokenizer's own.
CHAT = "chat"

# The last part of the URL of an endpoint that scores: vLLM's three, and OpenRLHF's, which `proxygold serve` has too.
REMOTE_FORMS = ("classify", "pooling", "score", "get_reward")


class RewardModelSettings(BaseModel):
    """One reward model. `docs/reward_models.md` says which of the published ones needs what.

    - `model`: `gold-mini`, a hub id or a directory. Of a remote one, the name that the endpoint serves it under;
      without it the endpoint is asked.
    - `kind`: `classifier`, a sequence classifier with one output, or an adapter of one; `deberta-pair`, a classifier
      that always reads prompt and answer as a pair of texts; `t5-preference`, a T5 that says which of two answers is
      better; `value-head`, a language model with a linear head of its own name; `remote`, an endpoint. `auto` is what
      the checkpoint itself tells: `remote` with a `url`, `value-head` with such a head, else `classifier`.
    - `template`: how a conversation becomes text: a name of `reward_templates`, or `chat` for the tokenizer's own chat
      template. None: the tokenizer's, else a pair of texts. A value head needs one, for its checkpoint does not say.
    - `tokenizer`: the hub id or directory of another model's tokenizer, for checkpoints that come without.
    - `url`: an endpoint that ends with `/classify`, `/pooling`, `/score` or `/get_reward`.
    - `max_length`: tokens of prompt and answer. None: 1,024 (a T5: 512), or what the model reads if that is less; of a
      remote one what the endpoint reads.
    - `batch_size`: examples in one pass, or in one request.
    - `dtype`, `device`: of a local model. `auto`: bfloat16 where the device multiplies it natively, else float32; the
      GPU where there is one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = ""
    kind: Literal["auto", "classifier", "deberta-pair", "t5-preference", "value-head", "remote"] = "auto"
    template: Annotated[str, Field(min_length=1)] | None = None
    tokenizer: Annotated[str, Field(min_length=1)] | None = None
    url: str | None = None
    max_length: PositiveInt | None = None
    batch_size: PositiveInt = 16
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "auto"

    @model_validator(mode="after")
    def _fits_together(self) -> RewardModelSettings:
        if self.url is None:
            if self.kind == "remote":
                raise ValueError(f"a remote reward model needs its url, which ends with {_forms()}")
            if not self.model.strip():
                raise ValueError("give model (gold-mini, a hub id or a directory), or the url of a remote one")
        else:
            self._check_remote(self.url)
        if self.template is None and self.kind == "value-head":
            raise ValueError(
                "a value head does not say how a conversation is written for it: give template, chatml for "
                "Starling-RM-34B, ultrarm for UltraRM-13B, another name, or chat for the tokenizer's own"
            )
        if self.template is not None and self.kind in ("deberta-pair", "t5-preference"):
            raise ValueError(f"a {self.kind} model reads its own format: leave out template")
        if self.template not in (None, CHAT):
            self._check_template(str(self.template))
        return self

    def _check_remote(self, url: str) -> None:
        if self.kind not in ("auto", "remote"):
            raise ValueError(f"a reward model with a url is remote, not {self.kind}: leave out kind or url")
        try:
            address = urlsplit(url)
            usable = address.scheme in ("http", "https") and address.hostname and address.port != 0
            usable = usable and not any(letter.isspace() for letter in url)
        except ValueError:
            usable = False
        if not usable:
            raise ValueError(f"url is no address. Give one such as http://127.0.0.1:8000/{REMOTE_FORMS[0]}")
        if "@" in address.netloc:
            raise ValueError(
                "the url holds a password, which would be written down with the results: put it into PROXYGOLD_API_KEY"
            )
        if self.form not in REMOTE_FORMS:
            raise ValueError(f"url must end with {_forms()}, and is {url}")
        if self.form == "score" and self.template is not None:
            raise ValueError("/score takes a pair of texts and no template: leave out template, or give /classify")
        if self.form == "get_reward" and self.template is None:
            raise ValueError(
                "/get_reward takes finished text: give template, a name or chat (any will do for proxygold serve)"
            )
        if self.template == CHAT and not (self.model or self.tokenizer):
            raise ValueError("template chat is the tokenizer's: give model or tokenizer, whose tokenizer is loaded")
        if self.tokenizer is not None and self.template != CHAT:
            raise ValueError("a remote reward model has its own tokenizer: leave out tokenizer, or give template: chat")
        mine = {"dtype": "auto", "device": "auto", **({"max_length": None} if self.form == "get_reward" else {})}
        for name, default in mine.items():
            if getattr(self, name) != default:
                raise ValueError(f"{name} is the endpoint's own matter: leave it out where there is this url")

    def _check_template(self, name: str) -> None:
        from proxygold.models.reward_templates import check_template

        try:
            check_template(name)
        except ConfigError as error:
            raise ValueError(str(error)) from error

    @property
    def form(self) -> str:
        """Which of `REMOTE_FORMS` the url asks for; of a local model nothing."""
        return urlsplit(self.url or "").path.rstrip("/").rpartition("/")[2]

    @property
    def name(self) -> str:
        """What to call it: the model, else where it is."""
        return self.model or str(self.url)

    @property
    def is_remote(self) -> bool:
        return self.url is not None


def reward_model_settings(**given: Any) -> RewardModelSettings:
    """The settings for what was given. Raises ConfigError for an unknown one, a wrong value, or two that do not fit."""
    try:
        return RewardModelSettings.model_validate(given)
    except ValidationError as error:
        raise ConfigError("\n".join(map(_mistake, error.errors()))) from error


def _mistake(item: Any) -> str:
    message = str(item["msg"]).removeprefix("Value error, ").removesuffix(".")
    if not item["loc"]:
        return f"a reward model's settings: {message}."
    name = str(item["loc"][0])
    if item["type"] == "extra_forbidden":
        return f"a reward model has no setting {name!r}. It has: {', '.join(RewardModelSettings.model_fields)}."
    return f"a reward model's {name} is {item['input']!r}: {message[0].lower()}{message[1:]}."


def _forms() -> str:
    return ", ".join(f"/{form}" for form in REMOTE_FORMS[:-1]) + f" or /{REMOTE_FORMS[-1]}"
