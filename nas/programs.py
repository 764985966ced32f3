"""Forms of a network that run without this package: a `torch.export` program and an ONNX file.

Both take float32 images [N, C, H, W] for any N and return logits; both are run again from the written file and compared
with the network itself.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from nas.card import ProgramFacts
from space import NasError

Format = Literal["torch", "onnx"]
FORMATS: tuple[Format, ...] = ("torch", "onnx")
FILES: dict[Format, str] = {"torch": "model.pt2", "onnx": "model.onnx"}
SCRIPTS: dict[Format, str] = {"torch": "run_torch.py", "onnx": "run_onnx.py"}
COMPARED = (1, 3)
"""Sizes of the batches that outputs are compared on."""
TOLERANCE = 1e-3
"""Largest relative error of a written form; float32 sums in another order stay far below it."""
ONNX_LIMIT = 2**31 - 2**20
"""A single ONNX file holds less than 2 GiB, the limit of its container (protobuf)."""


class Unavailable(NasError):
    """A form cannot be written here; the others can."""


class ProgramError(NasError):
    """A written form does not compute what the network computes."""


def exported(network: nn.Module, shape: tuple[int, int, int]) -> ExportedProgram:
    """Return the network, in eval mode on the CPU, as a program for images [N, *shape] with any N.

    Raises:  ProgramError naming why torch.export refuses it.
    """
    example = torch.zeros(2, *shape)
    try:
        with _quiet(), torch.no_grad():
            program = torch.export.export(network, (example,), dynamic_shapes=({0: Dim("batch", min=1, max=2**20)},))
    except RuntimeError as error:
        raise ProgramError(f"torch.export: refuses this network: {str(error).splitlines()[0]}") from None
    for module in program.graph_module.modules():
        for node in getattr(getattr(module, "graph", None), "nodes", ()):
            node.meta.pop("stack_trace", None)  # paths of the machine that exported have no place in the file
    return program


def write_torch(program: ExportedProgram, path: Path, network: nn.Module, shape: tuple[int, int, int]) -> ProgramFacts:
    """Write the program to `path`, run it from there and compare. Raises ProgramError, OSError."""
    content = io.BytesIO()
    with _quiet():
        torch.export.save(program, content)
        # given a path, torch would abort the process on a full disk
        path.write_bytes(content.getbuffer())
        again = torch.export.load(path).module()
    return _compared(path, network, again, shape, f"torch {torch.__version__}")


def check_onnx(network: nn.Module) -> None:
    """Raise Unavailable where ONNX cannot be written: packages are missing, or the network is too large."""
    if missing := [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]:
        raise Unavailable(f"onnx: not written, needs {', '.join(missing)}: pip install 'nas-vision[onnx]'")
    size = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    if size > ONNX_LIMIT:
        raise Unavailable(f"onnx: not written, {size / 2**30:.1f} GiB of weights, one file holds less than 2 GiB")


def write_onnx(program: ExportedProgram, path: Path, network: nn.Module, shape: tuple[int, int, int]) -> ProgramFacts:
    """Write the program as one ONNX file, run it by onnxruntime and compare.

    Raises:  Unavailable where torch's exporter has no form for an operator; ProgramError, OSError.
    """
    import onnx
    import onnxruntime

    with _quiet():
        names: dict[str, Any] = {"input_names": ["images"], "output_names": ["logits"]}
        try:
            made = torch.onnx.export(program, (), dynamo=True, verbose=False, **names)
        except torch.onnx.OnnxExporterError as error:
            raise Unavailable(f"onnx: not written, torch's exporter cannot translate {_untranslated(error)}") from None
    if made is None:
        raise ProgramError("onnx: torch.onnx.export returned nothing")
    made.save(path, external_data=False)
    onnx.checker.check_model(path, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        (logits,) = session.run(None, {"images": images.numpy()})
        return torch.from_numpy(logits)

    made_with = f"torch {torch.__version__}, onnxscript {version('onnxscript')}, onnxruntime {version('onnxruntime')}"
    return _compared(path, network, run, shape, made_with)


def _untranslated(error: BaseException) -> str:
    """Name the operator at the root of a failed translation."""
    while error.__cause__ is not None:
        error = error.__cause__
    named = re.search(r"OpOverload\(op='([^']+)'", str(error))
    return named[1] if named else str(error).splitlines()[0]


WRITERS: dict[Format, Callable[[ExportedProgram, Path, nn.Module, tuple[int, int, int]], ProgramFacts]] = {
    "torch": write_torch,
    "onnx": write_onnx,
}


def _compared(
    path: Path, network: nn.Module, run: Callable[[Tensor], Tensor], shape: tuple[int, int, int], made_with: str
) -> ProgramFacts:
    """Compare on normally distributed images. Raises ProgramError above the tolerance."""
    generator = torch.Generator().manual_seed(0)
    worst = relative = 0.0
    with torch.no_grad():
        for count in COMPARED:
            images = torch.randn(count, *shape, generator=generator)
            expected, found = network(images), run(images)
            if found.shape != expected.shape or not bool(found.isfinite().all()):
                raise ProgramError(f"{path.name}: returns {list(found.shape)} or no finite numbers for {count} images")
            error = (found - expected).abs().max().item()
            worst, relative = max(worst, error), max(relative, error / max(expected.abs().max().item(), 1e-12))
    if relative > TOLERANCE:
        raise ProgramError(
            f"{path.name}: its logits differ from PyTorch's by {relative:.2g} of the largest, allowed: {TOLERANCE:g}"
        )
    return ProgramFacts(
        file=path.name, max_abs_error=worst, max_rel_error=relative, batches=COMPARED, made_with=made_with
    )


@contextmanager
def _quiet() -> Iterator[Any]:
    """Keep the exporters' talk about themselves from the user."""
    names = ("torch.export", "torch.onnx", "onnxscript", "onnx_ir")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
