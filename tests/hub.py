"""A model hub on loopback: the part of the hub's protocol that its client uses to list and download files."""

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from virnucpro.models.checksums import file_sha256, git_blob

REVISION = hashlib.sha1(b"the only one").hexdigest()
_LARGE = (".safetensors", ".bin")  # kept outside Git, under their SHA-256, behind a redirect


@dataclass
class Hub:
    """Serves `repositories` (name: folder) and `files` (path: file).

    A name in `cut_after` has its connection cut once after so many bytes; a name in `changed` comes with
    one bit turned over. `requests`: (method, file name, first byte asked for).
    """

    repositories: Mapping[str, Path]
    files: Mapping[str, Path] = field(default_factory=dict)
    cut_after: dict[str, int] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    requests: list[tuple[str, str, int]] = field(default_factory=list)

    def __enter__(self) -> Self:
        hub = self

        class Handler(_Handler):
            served = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def downloads(self, name: str) -> list[int]:
        """Where each download of a file's content began."""
        return [first for method, file, first in self.requests if method == "GET" and file == name]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if found := re.fullmatch(r"/api/models/(\w+/[\w-]+)/(revision|tree)/\w+", path):
            folder = self.served.repositories.get(found[1])
            return self._json(found[2], found[1], folder) if folder else self._missing()
        if found := re.fullmatch(rf"/(\w+/[\w-]+)/resolve/{REVISION}/(.+)", path):
            folder = self.served.repositories.get(found[1])
            file = folder / found[2] if folder else None
            if file is None or not file.is_file():
                return self._missing()
            if not file.name.endswith(_LARGE):
                return self._content(file, {"ETag": f'"{git_blob(file)}"', "X-Repo-Commit": REVISION})
            # The client takes the facts from here; the content, as on the real hub, is on another host.
            elsewhere = self.served.url.replace("127.0.0.1", "localhost")
            return self._answer(
                302,
                {
                    "Location": f"{elsewhere}/cdn/{found[1]}/{file.name}",
                    "X-Repo-Commit": REVISION,
                    "X-Linked-Etag": f'"{file_sha256(file)}"',
                    "X-Linked-Size": str(file.stat().st_size),
                },
            )
        if found := re.fullmatch(r"/cdn/(\w+/[\w-]+)/(.+)", path):
            return self._content(self.served.repositories[found[1]] / found[2], {})
        if path in self.served.files:
            return self._content(self.served.files[path], {})
        return self._missing()

    def _json(self, kind: str, name: str, folder: Path) -> None:
        files = sorted(folder.iterdir())
        if kind == "revision":
            answer: object = {"id": name, "sha": REVISION, "siblings": [{"rfilename": f.name} for f in files]}
        else:
            answer = [
                {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": git_blob(file)}
                | (
                    {"lfs": {"oid": file_sha256(file), "size": file.stat().st_size, "pointerSize": 134}}
                    if file.name.endswith(_LARGE)
                    else {}
                )
                for file in files
            ]
        self._answer(200, {"Content-Type": "application/json"}, json.dumps(answer).encode())

    def _content(self, file: Path, headers: dict[str, str]) -> None:
        first = int(re.sub(r"bytes=(\d+)-", r"\1", self.headers.get("Range", "bytes=0-")))
        self.served.requests.append((self.command, file.name, first))
        content = bytearray(file.read_bytes())
        if file.name in self.served.changed:
            content[len(content) // 2] ^= 1
        headers |= {"Accept-Ranges": "bytes"}
        if first:
            headers |= {"Content-Range": f"bytes {first}-{len(content) - 1}/{len(content)}"}
        cut = self.served.cut_after.pop(file.name, None) if self.command == "GET" else None
        self._answer(206 if first else 200, headers, bytes(content[first:]), cut)

    def _missing(self) -> None:
        self._answer(404, {"X-Error-Code": "RepoNotFound"})

    def _answer(
        self, status: int, headers: Mapping[str, str], body: bytes = b"", cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass
