"""What can be taken home: every table as CSV and JSON, every network as YAML; and the pulse."""

from __future__ import annotations

import re
from collections.abc import Callable

from flask import Flask, Response, request

from nas.dashboard.address import Address
from nas.dashboard.pages import TABLES
from nas.dashboard.queries import Queries
from nas.dashboard.view import View
from space.errors import NasError

_KINDS = {"csv": "text/csv", "json": "application/json"}


def install(server: Flask, queries: Queries, session: str) -> None:
    """Add the routes; `session` tells one run of the server from the next."""

    def pulse() -> Response:
        return Response(f"{session} {queries.pulse()}", mimetype="text/plain")

    def table(name: str, kind: str) -> Response:
        first, *rest = name.split("/")
        if first not in TABLES or kind not in _KINDS:
            return Response("no such table\n", 404, mimetype="text/plain")
        address = Address.parse(f"/{first}/{'/'.join(rest)}", request.query_string.decode())
        found = TABLES[first](View(queries, address))
        text = found.as_csv() if kind == "csv" else found.as_json()
        return _file(text, _KINDS[kind], f"{'-'.join([first, *rest, *address.all('study')])}.{kind}")

    def network(study: str, number: int) -> Response:
        from nas.networks import as_yaml
        from space import Architecture

        row = queries.store.trial(queries.frame(study).row.id, number)
        text = as_yaml(Architecture.model_validate_json(row.arch_json))
        return _file(text, "application/yaml", f"{study}-{number}.yaml")

    routes: dict[str, Callable[..., Response]] = {
        "/pulse": pulse,
        "/table/<path:name>.<kind>": table,
        "/network/<study>/<int:number>.yaml": network,
    }
    for rule, view in routes.items():
        server.add_url_rule(rule, view.__name__, _told(view))


def _told(view: Callable[..., Response]) -> Callable[..., Response]:
    def answer(**fields: str | int) -> Response:
        try:
            return view(**fields)
        except NasError as error:
            return Response(f"{error}\n", 404, mimetype="text/plain")

    return answer


def _file(text: str, kind: str, name: str) -> Response:
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    headers = {"Content-Disposition": f'attachment; filename="{safe}"'}
    return Response(text, mimetype=kind, headers=headers)
