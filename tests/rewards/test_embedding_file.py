"""Embeddings on disk: shared by processes, whole or absent, and damage that is told."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from proxygold import Example, reward
from proxygold.errors import StoreError
from proxygold.models.encoder import Encoder, EncoderSettings
from proxygold.rewards.embedding_file import EmbeddingFile
from proxygold.rewards.embeddings import forget_embeddings

PRINT = "0123456789abcdef" * 4


def vectors(texts: list[str]) -> dict[str, np.ndarray]:
    return {text: np.array([len(text), -0.1, np.pi], dtype=np.float32) for text in texts}


def test_what_is_written_is_read_to_the_last_bit(tmp_path: Path) -> None:
    texts = ["Oslo", "", "東京 😀", "half a character: \ud83d", "new\nline\0"]
    EmbeddingFile(tmp_path / "new" / "place", PRINT, 3).write(vectors(texts))
    again = EmbeddingFile(tmp_path / "new" / "place", PRINT, 3).read([*texts, "Oslo", "unknown"])
    assert sorted(again) == sorted(texts)
    assert all(np.array_equal(again[text], vectors([text])[text]) for text in texts)
    assert again["Oslo"].dtype == np.float32


def test_more_texts_than_one_statement_takes(tmp_path: Path) -> None:
    file = EmbeddingFile(tmp_path, PRINT, 3)
    texts = [f"text {number}" for number in range(2500)]
    file.write(vectors(texts))
    assert sorted(file.read(texts)) == sorted(texts)


def test_encoders_have_files_of_their_own(tmp_path: Path) -> None:
    EmbeddingFile(tmp_path, PRINT, 3).write(vectors(["Oslo"]))
    assert EmbeddingFile(tmp_path, "f" * 64, 3).read(["Oslo"]) == {}
    assert EmbeddingFile(tmp_path, PRINT, 3).read([]) == {}


def test_a_text_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    file = EmbeddingFile(tmp_path, PRINT, 3)
    file.write(vectors(["Oslo"]))
    file.write({"Oslo": np.zeros(3, dtype=np.float32)})
    assert file.read(["Oslo"])["Oslo"][0] == 4


WRITER = """
import sys
from pathlib import Path
import numpy as np
from proxygold.rewards.embedding_file import EmbeddingFile
for first in range(int(sys.argv[2]), int(sys.argv[2]) + 200, 20):
    rows = {f"text {n}": np.full(3, n, dtype=np.float32) for n in range(first, first + 40)}
    EmbeddingFile(Path(sys.argv[1]), sys.argv[3], 3).write(rows)
"""


def run_python(code: str, *arguments: str) -> int:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", code, *arguments], env=environment, check=False).returncode


def test_processes_write_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        done = threads.map(lambda start: run_python(WRITER, str(tmp_path), str(start), PRINT), [0, 100, 50, 320])
        assert list(done) == [0, 0, 0, 0]
    # 0 to 219, 100 to 319 and 50 to 269 overlap; 320 to 539 does not.
    found = EmbeddingFile(tmp_path, PRINT, 3).read([f"text {n}" for n in range(540)])
    assert len(found) == 540
    assert found["text 77"].tolist() == [77, 77, 77]
    # 0 to 239 and 100 to 339 by the processes, 50 to 289 and 300 to 539 by the threads.
    assert len(EmbeddingFile(tmp_path, PRINT, 3).read([f"text {n}" for n in range(540)])) == 540


def test_a_killed_writer_leaves_all_or_nothing(tmp_path: Path) -> None:
    EmbeddingFile(tmp_path, PRINT, 3).write(vectors(["before"]))
    killed = (
        "import os, signal, numpy as np\n"
        "from pathlib import Path\n"
        "from proxygold.rewards.embedding_file import EmbeddingFile\n"
        f"file = EmbeddingFile(Path({str(tmp_path)!r}), {PRINT!r}, 3)\n"
        "with file._open() as connection:\n"
        "    connection.execute('PRAGMA cache_size = 1')  # so that half of it is on disk already\n"
        "    for n in range(5000):\n"
        "        row = (str(n).encode(), b'x' * 12, 0)\n"
        "        connection.execute('INSERT INTO embeddings VALUES (?, ?, ?)', row)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert run_python(killed) == -9
    file = EmbeddingFile(tmp_path, PRINT, 3)
    assert sorted(file.read(["before", "0", "4999"])) == ["before"]
    with sqlite3.connect(file.path) as connection:
        assert connection.execute("SELECT count(*) FROM embeddings").fetchone() == (1,)


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_cache(tmp_path: Path) -> None:
    file = EmbeddingFile(tmp_path, PRINT, 3)
    file.path.write_text("not a database, but long enough to be looked at" * 100)
    with pytest.raises(StoreError, match=r"is damaged: file is not a database\. Delete that file"):
        file.read(["Oslo"])
    with pytest.raises(StoreError, match="is damaged"):
        file.write(vectors(["Oslo"]))


def test_a_vector_with_a_flipped_bit(tmp_path: Path) -> None:
    file = EmbeddingFile(tmp_path, PRINT, 3)
    file.write(vectors(["Oslo"]))
    data = bytearray(file.path.read_bytes())
    place = data.find(vectors(["Oslo"])["Oslo"].tobytes())
    data[place + 1] ^= 1
    file.path.write_bytes(data)
    with pytest.raises(StoreError, match=r"a vector is not the one that was written\. Delete that file"):
        file.read(["Oslo"])


def test_vectors_of_another_length(tmp_path: Path) -> None:
    EmbeddingFile(tmp_path, PRINT, 3).write(vectors(["Oslo"]))
    with pytest.raises(StoreError, match="is damaged"):
        EmbeddingFile(tmp_path, PRINT, 4).read(["Oslo"])


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot be used: .*Choose another directory with encoder\.cache=DIRECTORY"):
        EmbeddingFile(tmp_path / "file", PRINT, 3).write(vectors(["Oslo"]))
    EmbeddingFile(tmp_path, PRINT, 3).path.mkdir()
    with pytest.raises(StoreError, match="cannot be used: unable to open"):
        EmbeddingFile(tmp_path, PRINT, 3).read(["Oslo"])


# --- as an encoder's setting ------------------------------------------------------------------------------------------

EXAMPLES = [
    Example("Where is Oslo?", "In Norway.", reference="Norway"),
    Example("Where is Lima?", "In Peru.", reference="Peru"),
]


def test_the_next_process_embeds_only_completions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = reward("QR * AR")
    filed = reward("QR * AR", encoder=EncoderSettings(cache=str(tmp_path)))
    expected = filed.score(EXAMPLES).total.tolist()
    assert [path.name for path in tmp_path.iterdir()] == [
        f"embeddings-{filed._load_encoder().fingerprint[:16]}.sqlite",
    ]

    forget_embeddings()  # as a new process begins
    embedded: list[str] = []
    embed = Encoder.embed
    monkeypatch.setattr(Encoder, "embed", lambda self, texts: (embedded.extend(texts), embed(self, texts))[1])
    assert filed.score(EXAMPLES).total.tolist() == expected
    assert embedded == ["In Norway.", "In Peru."]
    # It is no part of the reward: same scores, same name, same identity.
    assert plain.score(EXAMPLES).total.tolist() == expected
    assert (plain, plain.reward_id, plain.__name__) == (filed, filed.reward_id, filed.__name__)
