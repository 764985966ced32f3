"""Import every module of a package, so that adding a member to a family is adding a file."""

from __future__ import annotations

import importlib
import pkgutil


def discover(package: str) -> list[str]:
    """Import a module, and all modules directly in it where it is a package; return their names in order."""
    module = importlib.import_module(package)
    if not hasattr(module, "__path__"):
        return [package]
    names = [f"{package}.{info.name}" for info in sorted(pkgutil.iter_modules(module.__path__), key=lambda i: i.name)]
    for name in names:
        importlib.import_module(name)
    return names
