"""`proxygold serve`, as a user types it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PROXYGOLD = Path(sys.executable).with_name("proxygold")

# Its feature says that it has begun, and then takes its time.
SLOW = """
import time
from pathlib import Path
from proxygold import feature

@feature("slow")
def slow(example):
    Path(example.prompt).touch()
    time.sleep(1.5)
    return 7.0
"""


@contextmanager
def serve(*arguments: str, cwd: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its address, once it says that it serves."""
    process = subprocess.Popen(
        [str(PROXYGOLD), "serve", "--port", "0", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        # A suite that was started in the background ignores SIGINT, and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        if not first:
            raise AssertionError(process.communicate(timeout=60)[1])
        assert "Ctrl-C ends it." in process.stdout.readline()
        yield process, first.split(" at ")[1].strip()
    finally:
        process.kill()
        process.communicate(timeout=60)


def post(url: str, body: Any, key: str | None = None) -> Any:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        return json.load(answer)


def refused(*arguments: str, cwd: Path) -> str:
    done = subprocess.run([str(PROXYGOLD), "serve", *arguments], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    return done.stderr


def test_it_serves_says_where_and_ends_well_on_sigterm(tmp_path: Path) -> None:
    with serve("--reward", "LI * RP", cwd=tmp_path) as (process, url):
        assert url.startswith("http://127.0.0.1:")
        assert not url.endswith(":0")
        answer = post(f"{url}/score", {"examples": [{"prompt": "Say three.", "completion": "one two three"}]})
        assert answer["scores"][0]["total"] == 0.03
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=60)
        assert (process.returncode, stdout, stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGTERM, 0, ""), (signal.SIGINT, 130, "\nstopped by Ctrl-C.")]
)
def test_what_was_asked_is_answered_before_it_ends(number: int, code: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SLOW)
    answers: list[Any] = []
    with serve("--reward", "slow", "plugins=[mine.py]", cwd=tmp_path) as (process, url):
        # The first example is being scored when the signal comes, the second waits in the queue.
        threads = []
        for name in ("first", "second"):
            body = {"examples": [{"prompt": str(tmp_path / name), "completion": "x"}]}
            threads.append(threading.Thread(target=lambda body=body: answers.append(post(f"{url}/score", body))))
        threads[0].start()
        while not (tmp_path / "first").exists():
            assert process.poll() is None
        threads[1].start()
        while "proxygold_queue_rows 1.0" not in _text(f"{url}/metrics"):
            assert process.poll() is None
            if (tmp_path / "second").exists():
                break
        process.send_signal(number)
        stderr = process.communicate(timeout=60)[1]
        for thread in threads:
            thread.join(timeout=60)
    assert [answer["scores"][0]["total"] for answer in answers] == [7.0, 7.0]
    assert process.returncode == code, stderr
    assert stderr.startswith(said)
    assert "Traceback" not in stderr


def _text(url: str) -> str:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=60) as answer:
        return str(answer.read().decode())


def test_a_key_from_the_environment_is_wanted_and_never_shown(tmp_path: Path) -> None:
    arguments = ("--reward", "LI", "--host", "0.0.0.0")
    with serve(*arguments, cwd=tmp_path, PROXYGOLD_API_KEY="hush-hush") as (process, url):
        port = url.rpartition(":")[2]
        body = {"examples": [{"prompt": "a", "completion": "b"}]}
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(f"http://127.0.0.1:{port}/score", body)
        assert caught.value.code == 401
        assert "hush-hush" not in caught.value.read().decode()
        assert post(f"http://127.0.0.1:{port}/score", body, key="hush-hush")["scores"][0]["total"] == 0.01
        process.terminate()
        stdout, stderr = process.communicate(timeout=60)
        assert "hush-hush" not in stdout + stderr
        assert process.returncode == 0
    page = subprocess.run(
        [str(PROXYGOLD), "serve", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "PROXYGOLD_API_KEY": "hush-hush"},
    )
    assert "hush-hush" not in page.stdout


def test_match_is_measured_before_it_serves(tmp_path: Path) -> None:
    line = "match(RP, LI)"
    told = refused("--reward", line, cwd=tmp_path)
    assert "error: match(RP, LI) has a `match` that has not been measured. Measure it with --calibrate FILE" in told
    # 20 completions of 1 to 20 different words: RP is 1 for each, LI n / 100. By hand: the 95th percentile of 1..20 lies
    # at 0.95 * 19 = 18.05 between the 19th and the 20th, at 19.05.
    words = [f"w{n}" for n in range(20)]
    rows = [{"prompt": "p", "completion": " ".join(words[: n + 1])} for n in range(20)]
    (tmp_path / "start.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serve("--reward", line, "--calibrate", "start.jsonl", cwd=tmp_path) as (_, url):
        (score,) = post(f"{url}/score", {"examples": [rows[0]]})["scores"]
        assert score["total"] == pytest.approx(0.1905)
        assert list(score["parts"]) == ["RP", "rescale(RP, 0.0, 1.0, 0.0, 0.1905)"]


def test_wrong_input_is_refused_at_once(tmp_path: Path) -> None:
    told = refused("--reward", "LI", "--host", "0.0.0.0", cwd=tmp_path)
    assert "0.0.0.0 can be reached from other machines, and there is no key. Set PROXYGOLD_API_KEY" in told
    told = refused("--reward", "LI", "templat=alpaca", cwd=tmp_path)
    assert "unknown setting 'templat'. Did you mean template?" in told
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        # Before any model is loaded: this encoder is nowhere.
        told = refused("--reward", "QR", "--encoder", "no/such/encoder", "--port", str(port), cwd=tmp_path)
        assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in told
    assert "no/such/encoder" in refused("--reward", "QR", "--encoder", "no/such/encoder", "--port", "0", cwd=tmp_path)


def test_without_its_packages_it_names_the_extra(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['fastapi'] = None; sys.argv = ['proxygold', 'serve', '--reward', 'LI']\n"
        "from proxygold.cli.main import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "this needs fastapi, which is not installed. Run: pip install 'proxygold[serve]'" in done.stderr
