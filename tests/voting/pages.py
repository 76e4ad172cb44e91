"""A web server that ends when it is told to, and answers with what a function gives."""

import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def end_when_told():
    """The first process of a container is not ended by a signal that it does not take."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def serve(port, answer):
    """Serves `answer(method, path)`, which gives a status, a content type and a text."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self):
            try:
                status, kind, text = answer(self.command, self.path)
            except Exception as error:  # what is behind this page is not there, or not yet
                status, kind, text = 503, "text/plain", f"{type(error).__name__}: {error}\n"
            body = text.encode()
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = reply

        def log_message(self, *_):
            """Who came and what for is not of interest."""

    end_when_told()
    ThreadingHTTPServer(("0.0.0.0", port), Handler).serve_forever()
