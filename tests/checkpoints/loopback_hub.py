"""A model hub on loopback: the endpoints a download uses, and a record of who asked for what."""

import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Repository:
    """One repository: files by commit, and names of commits.

    Args:
        commits: Files of each commit (40 hex digits).
        refs: Branches and tags.
        error: Status and hub error code every request gets instead, or None.
        token: Needed to see the repository, or None.
    """

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    error: tuple[int, str] | None = None
    token: str | None = None

    def commit(self, files: dict[str, bytes], ref: str = "main") -> str:
        """Adds a commit and returns its hash."""
        name = hashlib.sha1(repr((files, len(self.commits))).encode()).hexdigest()
        self.commits[name] = files
        self.refs[ref] = name
        return name


class LoopbackHub:
    """Serves repositories under `endpoint` between `start` and `stop`."""

    def __init__(self):
        self.repositories: dict[str, Repository] = {}
        self.requests: list[tuple[str, str]] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self):
                hub._answer(self, send_body=False)

            def do_GET(self):
                hub._answer(self, send_body=True)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def start(self):
        self._thread.start()

    def stop(self):
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def add(self, hub_id: str, files: dict[str, bytes]) -> tuple[Repository, str]:
        repository = self.repositories.setdefault(hub_id, Repository())
        return repository, repository.commit(files)

    def take_requests(self) -> list[tuple[str, str]]:
        """Returns (method, file) of the requests since the last call."""
        taken, self.requests = self.requests, []
        return taken

    def _answer(self, handler, *, send_body):
        parts = handler.path.lstrip("/").split("/")
        if len(parts) != 5 or parts[2] != "resolve":
            self.requests.append((handler.command, handler.path))
            _send(handler, 404, {}, b"", send_body)
            return
        hub_id, revision, file = "/".join(parts[:2]), parts[3], parts[4]
        self.requests.append((handler.command, file))
        repository = self.repositories.get(hub_id, Repository(error=(404, "RepoNotFound")))
        bearer = handler.headers.get("Authorization")
        if repository.error is not None:
            status, code = repository.error
            _send(handler, status, {"X-Error-Code": code} if code else {}, b"", send_body)
            return
        if repository.token is not None and bearer != f"Bearer {repository.token}":
            _send(handler, 401, {"X-Error-Code": "RepoNotFound"}, b"", send_body)
            return
        commit = repository.refs.get(revision, revision)
        if commit not in repository.commits:
            _send(handler, 404, {"X-Error-Code": "RevisionNotFound"}, b"", send_body)
            return
        headers = {"X-Repo-Commit": commit}
        content = repository.commits[commit].get(file)
        if content is None:
            _send(handler, 404, headers | {"X-Error-Code": "EntryNotFound"}, b"", send_body)
            return
        headers["ETag"] = f'"{hashlib.sha256(content).hexdigest()}"'
        _send(handler, 200, headers, content, send_body)


def _send(handler, status, headers, content, send_body):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    if send_body:
        handler.wfile.write(content)
