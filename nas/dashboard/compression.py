"""Answers as gzip where the visitor takes it; the scripts, which never change, are packed once."""

from __future__ import annotations

import gzip
import threading
from typing import Any

from flask import Flask, request

LEAST = 2000
"""Bytes below which packing is not worth it."""
_KINDS = ("text/", "application/json", "application/javascript", "image/svg+xml")
_PACKED_ONCE = ("/_dash-component-suites", "/assets")
_QUICK, _SMALL = 1, 6
_MOST = 100


def install(server: Flask) -> None:
    """Pack what the application answers."""
    packed: dict[tuple[str, str, int], bytes] = {}
    lock = threading.Lock()

    def small(key: tuple[str, str, int], body: bytes) -> bytes:
        with lock:
            found = packed.get(key)
        if found is None:
            found = gzip.compress(body, _SMALL, mtime=0)
            with lock:
                if len(packed) < _MOST:
                    packed[key] = found
        return found

    def after(response: Any) -> Any:
        if "gzip" not in request.headers.get("Accept-Encoding", "") or "Content-Encoding" in response.headers:
            return response
        if response.status_code != 200 or not (response.mimetype or "").startswith(_KINDS):
            return response
        response.direct_passthrough = False
        body = response.get_data()
        if len(body) < LEAST:
            return response
        lasting = request.path.startswith(_PACKED_ONCE)
        tag = response.headers.get("ETag", "") or request.query_string.decode("latin-1")
        made = small((request.path, tag, len(body)), body) if lasting else gzip.compress(body, _QUICK, mtime=0)
        response.set_data(made)
        response.headers["Content-Encoding"] = "gzip"
        response.headers.add("Vary", "Accept-Encoding")
        return response

    server.after_request(after)
