"""`proxygold serve`: a reward over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from proxygold.cli.reward_options import CalibrateOption, EncoderOption, PluginOption, RewardLine, SettingsArgument

__all__ = ["serve"]


def serve(
    settings: SettingsArgument = None,
    *,
    reward: RewardLine,
    encoder: EncoderOption = None,
    plugin: PluginOption = None,
    calibrate: CalibrateOption = None,
    host: Annotated[
        str, typer.Option(help="Where to listen. Other than this machine alone needs a key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free; the first line says which.")] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="PROXYGOLD_API_KEY",
            help="What every request must bring, as a bearer token or a password. Others on this machine can see what "
            "is typed here: better set the variable.",
            show_default=False,
        ),
    ] = None,
    fallback: Annotated[
        float, typer.Option(help="What /get_reward gives where there is no score: OpenRLHF takes no null.")
    ] = 0.0,
    max_examples: Annotated[int, typer.Option(min=1, help="Examples that one request may hold.")] = 1024,
    max_body_mb: Annotated[float, typer.Option(min=0.001, help="Megabytes that one request may hold.")] = 16.0,
    max_batch: Annotated[int, typer.Option(min=1, help="Examples of several requests scored together.")] = 512,
    max_wait_ms: Annotated[
        float, typer.Option(min=0, help="Longest wait, in milliseconds, of a batch for requests that are expected.")
    ] = 2.0,
    max_queue: Annotated[int, typer.Option(min=1, help="Examples that may wait; more are refused with 503.")] = 65_536,
) -> None:
    """Serve a reward over HTTP: POST /score, and POST /get_reward as OpenRLHF asks for it.

    Requests that come together are scored together, and each gets what it would have got alone. Models are loaded
    before the first line is printed; GET /health says `ready` from then on. GET /docs shows every form, GET /metrics
    counts for Prometheus.

    Ctrl-C or SIGTERM ends it when what was asked is answered.
    """
    from proxygold.errors import ConfigError, RewardError
    from proxygold.integrations.addresses import is_loopback
    from proxygold.integrations.server import ServerSettings, create_app, warm_up
    from proxygold.integrations.server_process import bind, serve_until_stopped, url_of
    from proxygold.rewards.options import reward_from_options
    from proxygold.rewards.score_file import calibrate_on_file

    if api_key is None and not is_loopback(host):
        raise ConfigError(
            f"{host} can be reached from other machines, and there is no key. Set PROXYGOLD_API_KEY (or --api-key), "
            "or listen on 127.0.0.1."
        )
    server_settings = ServerSettings(
        fallback=fallback,
        max_examples=max_examples,
        max_body_bytes=round(max_body_mb * 2**20),
        max_batch=max_batch,
        max_wait_ms=max_wait_ms,
        max_queue=max_queue,
        api_key=api_key,
    )
    scorer = reward_from_options(reward, encoder, settings or [], plugins=plugin or ())
    if calibrate is None and not scorer.resolved:
        raise RewardError(
            f"{scorer} has a `match` that has not been measured. Measure it with --calibrate FILE, on completions of "
            "the policy that training starts from, or write your own numbers: rescale(AR, 0, highest, 0, new_highest)."
        )
    with bind(host, port) as listener:  # a port that is taken is known before a model is loaded
        if calibrate is not None:
            scorer = calibrate_on_file(scorer, calibrate)
        warm_up(scorer)

        def say() -> None:
            print(f"serving {scorer} (reward_id {scorer.reward_id}) at {url_of(listener)}")
            key = " A key is needed." if api_key else ""
            print(f"POST /score, POST /get_reward, GET /docs.{key} Ctrl-C ends it.", flush=True)

        serve_until_stopped(create_app(scorer, server_settings), listener, say)
