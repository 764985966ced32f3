"""Search the design space of vision backbones, train what was found, export it.

Importing this package is cheap: what it offers is loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.bundle import load as load

__all__ = ["__version__", "load"]  # pyright: ignore[reportUnsupportedDunderAll] -- both are made on first use


def __getattr__(name: str) -> Any:
    if name == "load":
        from nas.bundle import load

        return load
    if name == "__version__":
        from importlib.metadata import version

        return version("nas-vision")
    raise AttributeError(f"module 'nas' has no attribute {name!r}")
