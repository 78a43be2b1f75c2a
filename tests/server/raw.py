"""Connections without an HTTP client, which would never send what these send."""

import json
import re
import socket
import time


class RawConnection:
    """A TCP connection to a server."""

    def __init__(self, server):
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        self._unread = b""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def send_slowly(self, parts, pause_s):
        """Sends until the other side has closed; returns how many seconds that took."""
        started = time.monotonic()
        for part in parts:
            try:
                self.send(part)
            except OSError:
                break
            time.sleep(pause_s)
            if self._is_closed():
                break
        return time.monotonic() - started

    def answer(self):
        """The next answer: status, headers, JSON of the body."""
        while b"\r\n\r\n" not in self._unread:
            self._receive()
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        status_line, *lines = head.decode().split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
        while len(self._unread) < length:
            self._receive()
        body, self._unread = self._unread[:length], self._unread[length:]
        status = int(re.match(r"HTTP/1\.1 (\d+) ", status_line)[1])
        return status, headers, json.loads(body) if body else None

    def is_at_end(self):
        """Waits until the other side closes; nothing else may come."""
        try:
            return self._unread == b"" and self.socket.recv(1000) == b""
        except ConnectionResetError:
            return True

    def _receive(self):
        data = self.socket.recv(65536)
        assert data, f"the connection was closed after {self._unread!r}"
        self._unread += data

    def _is_closed(self):
        self.socket.setblocking(False)
        try:
            return self.socket.recv(1, socket.MSG_PEEK) is not None  # an answer, or the end
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self.socket.settimeout(10)


def head(path="/probe", *lines, method="POST"):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: 127.0.0.1", *lines, "", ""])
