"""A package index for tests: a page, files, provenances, as a test lays them out; over HTTP, on a port of this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]


class Shelf:
    """What is asked for by its path: bytes, or an `Answer`; everything else is a 404. `asked` has the paths."""

    def __init__(self) -> None:
        self.things: dict[str, bytes | Answer] = {}
        self.asked: list[str] = []
        self.url = ""
        self.over = Event()
        """Set at the end, for answers that are silent until then."""

    def put(self, project: str, name: str, data: bytes, provenance: bytes | Answer | None, **listed: Any) -> None:
        """A file and its provenance; `listed` is what the project's page says otherwise of it."""
        row = {"filename": name, "url": f"/files/{name}", "hashes": {"sha256": hashlib.sha256(data).hexdigest()}}
        if provenance is not None:
            row["provenance"] = f"{self.url}/integrity/{name}/provenance"
            self.things[f"/integrity/{name}/provenance"] = provenance
        self.things[f"/files/{name}"] = data
        page = {"meta": {"api-version": "1.3"}, "name": project, "files": [{**row, **listed}]}
        self.things[f"/simple/{project}/"] = json.dumps(page).encode()

    def silent(self, request: BaseHTTPRequestHandler) -> None:
        """Never answer."""
        self.over.wait(30)

    def endless(self, request: BaseHTTPRequestHandler) -> None:
        """Answer for as long as anybody listens."""
        request.send_response(200)
        request.end_headers()
        while not self.over.is_set():
            request.wfile.write(b"x" * 65536)


def status(code: int, **headers: str) -> Answer:
    """An answer without anything in it."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for key, value in headers.items():
            request.send_header(key, value)
        request.send_header("content-length", "0")
        request.end_headers()

    return answer


@contextmanager
def serving() -> Iterator[Shelf]:
    """Serve an empty one. Threads, since the command under test runs in the thread of the test."""
    shelf = Shelf()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shelf.asked.append(self.path)
            thing = shelf.things.get(self.path, status(404))
            try:
                if callable(thing):
                    thing(self)
                else:
                    self.send_response(200)
                    self.send_header("content-length", str(len(thing)))
                    self.end_headers()
                    self.wfile.write(thing)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client has seen enough

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        shelf.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield shelf
        finally:
            shelf.over.set()
            server.shutdown()
            thread.join()
