"""What a search needs before it starts: space, data, device, training size, recipe, evaluators; all checked at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nas.admission import Admission
from nas.fidelity import NONE
from nas.fitted_space import FittedSpace
from nas.latency_limit import LatencyLimit
from nas.objective import COUNTED, ObjectiveError
from nas.quantities import duration
from nas.samplers import sampler
from nas.settings import SearchSettings
from nas.training_size import TrainingSize
from nas.training_time import Estimate, Question, choose_size, given_size
from space import DesignSpace, NasError, Proxy
from trials.data import ImageData, load_data
from trials.evaluator import Evaluator
from trials.evaluators.latency import Latency
from trials.evaluators.train import Train
from trials.training.recipe import PROXY_RECIPE
from trials.zero_cost import proxy, scores

TOLD = {*COUNTED, *Train.metrics, *Latency.metrics}
"""Metrics that no proxy is needed for."""
LONG_TRIAL = 60.0
"""From this many expected seconds a trial, the notice says how long all of them take."""


@dataclass(frozen=True)
class Preparation:
    """A search ready to begin: every open field of the settings is chosen."""

    settings: SearchSettings
    size: TrainingSize
    space: FittedSpace
    data: ImageData
    admission: Admission
    notices: tuple[str, ...]
    """What was chosen for the user, in words."""


def prepare(settings: SearchSettings, design: DesignSpace) -> Preparation:
    """Choose what the settings leave open and refuse what cannot work, before anything is stored or started.

    Raises:  NasError: unknown sampler, unreadable data, limits that no network meets, an objective nobody measures.
    """
    sampler(settings.sampler)
    for name in (*settings.features, *((settings.warm_start.proxy,) if settings.warm_start else ())):
        proxy(name)
    device = settings.device or default_device()
    check_device(device)
    data = load_data(settings.data, seed=settings.data_seed)
    evaluators = settings.evaluators or _evaluators(settings)
    _check_measured(settings, evaluators)
    recipe = (settings.recipe or PROXY_RECIPE).model_copy(update={"epochs": settings.epochs} if settings.epochs else {})
    recipe = recipe.for_data(len(data.train))
    space = FittedSpace(design, classes=len(data.classes), in_channels=data.channels)
    question = Question(
        space=space,
        limits=settings.limits,
        data=data,
        recipe=recipe,
        device=device,
        threads=settings.threads,
        seed=settings.seed,
        train_as=settings.train_as,
        proxy=settings.proxy,
        resolution=settings.resolution,
        cost_resolution=settings.cost_resolution,
    )
    estimate = _estimate(question, evaluators)
    size = estimate.size
    chosen = settings.model_copy(
        update={
            "data": _place(settings.data),
            "device": device,
            "evaluators": evaluators,
            "recipe": recipe,
            "epochs": recipe.epochs,
            "train_as": size.train_as,
            "proxy": size.proxy,
            "resolution": size.resolution,
            "cost_resolution": size.cost_resolution,
        }
    )
    fitted = space.at(size.cost_resolution)
    admission = Admission(fitted, size, settings.limits, LatencyLimit.of(chosen, size.cost_resolution))
    admission.check_possible(settings.seed)
    return Preparation(chosen, size, fitted, data, admission, (_notice(estimate, settings, device),))


def restore(settings: SearchSettings, design: DesignSpace, fingerprint: str) -> Preparation:
    """Prepare a stored search again, exactly as it was.

    Raises:  NasError where the data has changed, or the device is not there.
    """
    check_device(settings.device or "cpu")
    data = load_data(settings.data, seed=settings.data_seed)
    if data.fingerprint != fingerprint:
        raise NasError(
            f"data {settings.data!r}: has changed since the study began (fingerprint {data.fingerprint}, then "
            f"{fingerprint}); its trials could not be compared"
        )
    space = FittedSpace(design, classes=len(data.classes), in_channels=data.channels)
    size = TrainingSize(
        settings.train_as or "full",
        settings.proxy,
        settings.resolution or data.resolution,
        settings.cost_resolution or design.resolution,
    )
    fitted = space.at(size.cost_resolution)
    admission = Admission(fitted, size, settings.limits, LatencyLimit.of(settings, size.cost_resolution))
    return Preparation(settings, size, fitted, data, admission, (str(size),))


def default_device() -> str:
    """Return `cuda` where torch can use one, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(device: str) -> None:
    """Refuse a device that is not there. Raises NasError."""
    import torch

    name, _, index = device.partition(":")
    known = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if name not in ("cpu", "cuda") or (device != "cpu" and f"cuda:{index or 0}" not in known):
        raise NasError(f"device: {device!r} is not there, found: {', '.join(known)}")


def _place(data: str) -> str:
    """Return a folder as an absolute path, so that the study can be resumed from anywhere; other words as they are."""
    folder = Path(data).expanduser()
    return str(folder.resolve()) if folder.is_dir() else data


def _evaluators(settings: SearchSettings) -> tuple[Evaluator, ...]:
    """Return what measures the objectives and limits; nothing is trained where proxies stand in for it."""
    asked = {each.metric for each in (*settings.objectives, *settings.limits)}
    known = scores() if asked - TOLD else {}
    scoring = list(dict.fromkeys(known[name] for name in sorted(asked - TOLD) if name in known))
    found: list[Evaluator] = [member.model_validate({}) for member in scoring]
    if "latency_ms" in asked:
        found.insert(0, Latency())
    if not scoring or asked & set(Train.metrics):
        found.insert(0, Train())
    return tuple(found)


def _check_measured(settings: SearchSettings, evaluators: tuple[Evaluator, ...]) -> None:
    if settings.fidelity.rule != NONE and not any(each.staged for each in evaluators):
        kinds = ", ".join(each.kind for each in evaluators)
        raise NasError(f"fidelity {settings.fidelity}: {kinds} has no epochs to stop at, allowed: {NONE}")
    measured = {*COUNTED, *(metric for each in evaluators for metric in each.metrics)}
    for each in (*settings.objectives, *settings.limits):
        if each.metric not in measured:
            kinds = ", ".join(evaluator.kind for evaluator in evaluators)
            allowed = ", ".join(sorted(measured))
            raise ObjectiveError(f"{each}: {each.metric!r} is not measured by {kinds}, allowed: {allowed}")


def _estimate(question: Question, evaluators: tuple[Evaluator, ...]) -> Estimate:
    """Choose the size of training; nothing is timed where nothing will be trained."""
    if any(each.kind == "train" for each in evaluators):
        return choose_size(question)
    default = question.twin(Proxy()) if question.train_as == "proxy" else question.full()
    return Estimate(given_size(question) or default, 0.0)


def _notice(estimate: Estimate, settings: SearchSettings, device: str) -> str:
    text = str(estimate.size)
    if estimate.seconds > 0:
        text += f"; about {duration(estimate.seconds)} a trial on {device}"
    if estimate.seconds >= LONG_TRIAL:
        text += f", {duration(estimate.seconds * settings.budget / settings.workers)} in all"
    return text
