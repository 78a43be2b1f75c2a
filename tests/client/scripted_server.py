"""A real HTTP server on loopback that misbehaves as told: one act for each request it gets."""

import json
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Seen(NamedTuple):
    """A request as it arrived."""

    at: float
    method: str
    path: str
    headers: dict
    body: object


def answer(value, status=200, headers=None):
    """Answers with JSON."""

    def act(handler):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        handler.send_response(status)
        for name, text in (headers or {}).items():
            handler.send_header(name, text)
        handler.send_header("content-length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return act


def busy(status=429, **headers):
    """Refuses in the server's own words."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return refuse(status, "the queue is full.", "overloaded", **named)


def refuse(status, message, code, **headers):
    """Refuses as `kalm serve` does."""
    error = {"message": message, "type": "t", "param": None, "code": code}
    return answer({"error": error, "message": message, "detail": message}, status, headers)


def drop(handler):
    """Resets the connection without a word."""
    handler.close_connection = True
    # A linger of zero sends a reset instead of an end.
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def break_off(handler):
    """Ends the connection in the middle of an answer."""
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"results": [')
    handler.close_connection = True


def drip(handler):
    """Sends an answer a byte at a time, for ever."""
    handler.send_response(200)
    handler.send_header("content-length", "100000")
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b" ")
            time.sleep(0.05)
    except OSError:
        handler.close_connection = True


def be_silent(handler):
    """Takes the request and says nothing for a while."""
    time.sleep(1.0)
    handler.close_connection = True


def garbage(handler):
    """Answers in something that is not HTTP."""
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    handler.close_connection = True


class ScriptedServer:
    """Plays the acts of `script`, then repeats the last."""

    def __init__(self):
        self.script = [answer({})]
        self.seen = []
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def respond(self):
                length = int(self.headers.get("content-length", 0))
                body = self.rfile.read(length)
                outer._act_for(self, body)(self)

            do_GET = do_POST = do_DELETE = respond

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass  # connections that break are the point here

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def _act_for(self, handler, body):
        with self._lock:
            seen = Seen(
                time.monotonic(),
                handler.command,
                handler.path,
                {name.lower(): value for name, value in handler.headers.items()},
                json.loads(body) if body else None,
            )
            self.seen.append(seen)
            handler.server_seen = seen
            return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
