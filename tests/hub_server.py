"""A small stand-in for the Hugging Face hub: makes repositories, takes commits, serves files, over real HTTP."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TOKEN = "hf_of_the_tests"


class Hub(ThreadingHTTPServer):
    """`files`: content by `owner/name/path`; `created`: what was asked for, by repository."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.created: dict[str, dict[str, Any]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def commit(self) -> str:
        return hashlib.sha1(repr(sorted(self.files.items())).encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None: ...

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer({"error": "Invalid credentials"}, 401)
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            is_new = name not in self.server.created
            self.server.created.setdefault(name, asked)
            self._answer({"url": f"{self.server.url}/datasets/{name}"}, 200 if is_new else 409)
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self._answer({"files": files})
        elif "/commit/" in self.path:
            name = self.path.removeprefix("/api/datasets/").partition("/commit/")[0]
            for line in body.decode().splitlines():
                said = json.loads(line)
                if said["key"] == "file":
                    self.server.files[f"{name}/{said['value']['path']}"] = base64.b64decode(said["value"]["content"])
            address = f"{self.server.url}/datasets/{name}/commit/{self.server.commit}"
            self._answer({"commitUrl": address, "commitOid": self.server.commit})
        else:
            self._answer({"error": self.path}, 404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.path.startswith("/api/models/"):
            self._describe(self.path.removeprefix("/api/models/"))
            return
        name, _, rest = self.path.removeprefix("/datasets").lstrip("/").partition("/resolve/")
        content = self.server.files.get(f"{name}/{rest.partition('/')[2]}")
        if content is None:
            missing = "EntryNotFound" if name in self.server.created else "RepoNotFound"
            self._answer({"error": "not found"}, 404, {"X-Error-Code": missing})
            return
        etag = hashlib.sha1(content).hexdigest()
        self._send(content, 200, {"ETag": f'"{etag}"', "X-Repo-Commit": self.server.commit})

    def _describe(self, asked: str) -> None:
        """A model's commit, or what is in it."""
        name = "/".join(asked.split("/")[:2])
        files = {p.removeprefix(f"{name}/"): c for p, c in self.server.files.items() if p.startswith(f"{name}/")}
        if "/tree/" in asked:
            kinds = [{"type": "file", "path": path, "size": len(c), "oid": "0"} for path, c in files.items()]
            self._answer(kinds)
            return
        siblings = [{"rfilename": path} for path in files]
        self._answer({"id": name, "sha": self.server.commit, "siblings": siblings, "tags": [], "private": False})

    def _answer(self, said: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(said).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def running_hub() -> Iterator[Hub]:
    """The hub, answering in a thread of this process."""
    with Hub() as hub:
        thread = Thread(target=hub.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
