"""Addresses: secrets in a URL are used, but never printed or kept; a recorded URL is not asked."""

from __future__ import annotations

import base64
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from chipper.errors import OptionError, printable, without_secrets

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@contextmanager
def protected(folder: Path, asked: list[str]) -> Iterator[str]:
    """A server of ``folder`` for user ``ann`` with password ``s3cr3t``; it notes what is asked for."""
    wanted = "Basic " + base64.b64encode(b"ann:s3cr3t").decode()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def send_head(self) -> Any:
            asked.append(self.path)
            if self.headers.get("Authorization") != wanted:
                return self.send_error(401)
            return super().send_head()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("http://ann:s3cr3t@host/a", "http://***@host/a"),
        ("s3://KEY:SECRET@bucket/a: it is missing", "s3://***@bucket/a: it is missing"),
        ("ftp://token@host, and sftp://ann:p@ss@host/b", "ftp://***@host, and sftp://***@host/b"),
        ("http:/ann:s3cr3t@host/a does not exist", "http:/***@host/a does not exist"),
        ("see https://host/a.jpg?X-Amz-Signature=0123&b=4; or not", "see https://host/a.jpg?***; or not"),
        ('"az://box/a?sig=a%2Fb"', '"az://box/a?***"'),
        ("s3://bucket/mail@host/b", "s3://bucket/mail@host/b"),
        ("C:/images@2/x.jpg", "C:/images@2/x.jpg"),
        ("a?b@c", "a?b@c"),
        ("is it at http://host/a?", "is it at http://host/a?"),
    ],
)
def test_secrets_are_left_out(text: str, left: str) -> None:
    assert without_secrets(text) == left
    assert printable(text) == left
    assert str(OptionError(text)) == left


def chipper(*line: str) -> tuple[int, str]:
    """Exit code and all output of a command."""
    command = [sys.executable, "-m", "chipper.cli.main", *line]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.returncode, result.stdout + result.stderr


def test_a_password_is_used_but_not_kept(drawn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with protected(drawn.images, []) as host:
        url = f"http://ann:s3cr3t@{host}"
        results = [
            chipper("build-positives", str(drawn.coco), "--image-dir", url, "--json"),
            chipper("export-shards", "--image-dir", url, "-v", "--jobs", "1"),
            chipper("export-shards", "--image-dir", f"http://ann:wrong-s3cr3t@{host}", "--overwrite"),
            chipper("export-shards", "--image-dir", f"http://ann:s3cr3t@{host}:bad", "--overwrite"),
        ]
    assert [code == 0 for code, _ in results] == [True, True, False, False], results
    said = " ".join(text for _, text in results)
    assert json.loads((tmp_path / "chips" / "dataset.json").read_text())["image_dir"] == f"http://***@{host}/"
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) > 10
    assert [path for path in kept if b"s3cr3t" in path.read_bytes()] == []
    assert "***" in said
    assert "s3cr3t" not in said


@pytest.mark.parametrize("command", ["preview", "export-shards", "propose --method selective-search"])
def test_a_recorded_url_is_not_asked(
    own_drawn: Any, tmp_path: Path, build: Any, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    build(own_drawn.coco, tmp_path / "chips", image_dir=own_drawn.images)
    asked: list[str] = []
    with protected(own_drawn.images, asked) as host:
        path = tmp_path / "chips" / "dataset.json"
        recorded = json.loads(path.read_text())
        recorded["image_dir"] = f"http://ann:s3cr3t@{host}/"
        path.write_text(json.dumps(recorded))
        code, said = chipper(*command.split())
        assert asked == []
    assert code == 1
    assert f"are at http://***@{host}/; give that" in said
