"""Who may look, and what the browser may do: token, cookies, headers.

On the loopback address anybody with an account on the machine may look, as anybody may read its files; requests must
name the machine as such, so that no web page can reach it under a name of its own (DNS rebinding). Elsewhere a token is
asked for. What changes something must bring a value that only this site's own pages can read (double submit).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, request

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LEAST_TOKEN = 16
"""Characters of the shortest token that is taken."""
_FOREIGN = ("cross-site", "same-site")


@dataclass(frozen=True)
class Guard:
    """Lets requests in or turns them away."""

    token: str | None = None
    """What a visitor must show; None: visitors are of this machine."""
    port: int = 0
    """Part of the names of cookies, which browsers do not keep apart by port."""
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @property
    def session_cookie(self) -> str:
        """Name of the cookie that says that the token was shown."""
        return f"nas_session_{self.port}"

    @property
    def csrf_cookie(self) -> str:
        """Name of the cookie whose value requests that change something must repeat."""
        return f"nas_csrf_{self.port}"

    def session(self) -> str:
        """Return what the cookie of a visitor who knows the token holds."""
        return hmac.new(self.secret, (self.token or "").encode(), hashlib.sha256).hexdigest()

    def admit(self) -> Response | None:
        """Return None where the request may pass, else the answer that turns it away."""
        if self.token is None:
            host = urlsplit(f"//{request.host}").hostname
            if host not in LOOPBACK:
                return Response(f"host {request.host!r}: allowed: {', '.join(LOOPBACK)}\n", 421, mimetype="text/plain")
        elif not self._known():
            return self._sign_in()
        if request.method not in ("GET", "HEAD") and not self._ours():
            return Response("not from a page of this site; load it again\n", 403, mimetype="text/plain")
        return None

    def _known(self) -> bool:
        return hmac.compare_digest(request.cookies.get(self.session_cookie, "").encode(), self.session().encode())

    def _ours(self) -> bool:
        if request.headers.get("Sec-Fetch-Site", "same-origin") in _FOREIGN:
            return False
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            return False
        return hmac.compare_digest(request.headers.get("X-CSRFToken", "").encode(), self.csrf.encode())

    def _sign_in(self) -> Response:
        shown = (request.form if request.method == "POST" else request.args).get("token", "")
        if shown and hmac.compare_digest(shown.encode(), (self.token or "").encode()):
            # a page and no redirect: a strict cookie is not sent along a redirect that another site began
            answer = Response(_page('<meta http-equiv="refresh" content="0;url=/">', "<p>Welcome.</p>"))
            answer.set_cookie(
                self.session_cookie, self.session(), httponly=True, samesite="Strict", secure=request.is_secure
            )
            return answer
        wrong = "<p role='alert'>That is not the token.</p>" if shown else ""
        return Response(_page("", wrong + _FORM), 401)

    def finish(self, response: Response, policy: str) -> Response:
        """Add the headers that keep the page to itself."""
        response.headers.update(
            {
                "Content-Security-Policy": policy,
                "X-Content-Type-Options": "nosniff",
                "X-Frame-Options": "DENY",
                "Referrer-Policy": "no-referrer",
                "Cross-Origin-Opener-Policy": "same-origin",
                "Cross-Origin-Resource-Policy": "same-origin",
                "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
            }
        )
        if not request.path.startswith(("/_dash-component-suites", "/assets")):
            response.headers["Cache-Control"] = "no-store"
        if response.mimetype == "text/html" and response.status_code == 200:
            response.set_cookie(self.csrf_cookie, self.csrf, samesite="Strict", secure=request.is_secure)
        return response


def install(server: Flask, guard: Guard, hashes: Callable[[], list[str]]) -> None:
    """Put the guard before every request; `hashes` are those of the page's own inline scripts."""

    def before() -> Response | None:
        return guard.admit()

    def after(response: Any) -> Any:
        return guard.finish(response, policy(hashes()))

    server.before_request_funcs.setdefault(None, []).insert(0, before)
    server.after_request(after)


def policy(hashes: list[str]) -> str:
    """Return the content security policy: nothing from elsewhere, no inline script but those with these hashes.

    'unsafe-eval' is needed by Plotly's WebGL, which compiles its drawing commands; inline styles by Plotly's labels.
    """
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src 'self' 'unsafe-eval' {' '.join(hashes)}".strip(),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "worker-src 'self' blob:",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ]
    )


_FORM = (
    "<form method='post'><label>Token, as printed where the dashboard was started "
    "<input name='token' type='password' autocomplete='off' autofocus required></label> "
    "<button>Enter</button></form>"
)


def _page(head: str, body: str) -> str:
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{escape('nas')}</title>{head}"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        "<meta name='color-scheme' content='light dark'>"
        "<style>body{font:16px system-ui;max-width:30rem;margin:15vh auto;padding:0 1rem}"
        f"input,button{{font:inherit;padding:.4rem}}</style></head><body><main><h1>nas</h1>{body}</main></body></html>"
    )
