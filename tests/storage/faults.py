"""A proxy before an S3 server that does what clouds do on a bad day."""

import random
import socket
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SLOW_DOWN = (
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)


class Proxy(ThreadingHTTPServer):
    """Passes requests on; a share of them meets a fault first or loses its answer."""

    daemon_threads = True

    def __init__(self, target, share, seed=0):
        super().__init__(("127.0.0.1", 0), Handler)
        self.target, self.share = target, share
        self.rng, self.guard = random.Random(seed), threading.Lock()
        self.faults = dict.fromkeys(("throttled", "error", "cut", "answer lost", "late"), 0)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def fault(self):
        with self.guard:
            if self.rng.random() >= self.share:
                return ""
            name = self.rng.choice(sorted(self.faults))
            self.faults[name] += 1
            return name

    def handle_error(self, request, client_address):
        """A connection that we cut is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.fault()
        if fault == "cut":
            self.cut()
            return
        if fault in ("throttled", "error"):
            self.answer(503 if fault == "throttled" else 500, {}, SLOW_DOWN)
            return
        if fault == "late":
            time.sleep(0.5)
        status, headers, content = self.forward(body)
        if fault == "answer lost":
            self.cut()
            return
        self.answer(status, headers, content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on  # noqa: N815

    def cut(self):
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def forward(self, body):
        # the signature holds for the address that the client sees, so the host stays
        request = urllib.request.Request(
            self.server.target + self.path,
            data=body,
            headers=dict(self.headers),
            method=self.command,
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, dict(reply.headers), reply.read()
        except urllib.error.HTTPError as reply:
            with reply:
                return reply.code, dict(reply.headers), reply.read()

    def answer(self, status, headers, content):
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in (
                "content-length",
                "transfer-encoding",
                "connection",
                "date",
                "server",
            ):
                self.send_header(name, value)
        length = (
            headers.get("Content-Length", len(content)) if self.command == "HEAD" else len(content)
        )
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        """Say nothing."""
