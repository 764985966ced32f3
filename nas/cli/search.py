"""nas search: run a search and watch it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.open import open_store
from nas.cli.options import DataOption, DeviceOption, JsonOption, StoreOption, examples
from nas.cli.watch import Place, show_search

if TYPE_CHECKING:
    from nas.fidelity import Fidelity
    from nas.follow_up import FollowUp
    from trials.store import Store

SpaceOption = Annotated[
    str,
    typer.Option(
        "--space", metavar="FILE|PRESET", help="The design space: a YAML file, or a preset (metaformer, tiny)."
    ),
]
BudgetOption = Annotated[
    int, typer.Option("--budget", metavar="N", help="Networks to train; rejected points do not count.")
]
ObjectiveOption = Annotated[
    list[str] | None,
    typer.Option(
        "--objective",
        metavar="METRIC:max|min",
        help="What to optimise; repeat it for a front. Metrics: accuracy, loss, params, macs, activations, latency_ms, "
        "and those of zero-cost proxies (nas proxies list).",
        show_default="accuracy:max and macs:min",
    ),
]
LimitOption = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="METRIC<=NUMBER",
        help="What the network itself must keep to, checked before training: 'params<=5M', 'latency_ms<=20'; "
        "repeatable. Quote it, the shell reads < otherwise.",
        show_default="none",
    ),
]
StudyOption = Annotated[
    str | None,
    typer.Option("--study", metavar="NAME", help="Name of the new study.", show_default="the space and the time"),
]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", metavar="W", help="Networks trained at a time.", show_default="chosen for the machine"),
]
SamplerOption = Annotated[
    str | None,
    typer.Option(
        "--sampler",
        metavar="NAME",
        help="Who proposes networks: predictor_guided, tpe, nsga2, regularized_evolution, local_search, random.",
        show_default="predictor_guided",
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", metavar="S", help="Seed of every draw in the search.")]
StartOption = Annotated[
    list[str] | None,
    typer.Option(
        "--start-from",
        metavar="NAME",
        help="Try these first: named models or trials (STUDY:NUMBER), scaled into the space; repeatable.",
        show_default="none",
    ),
]
WarmStartOption = Annotated[
    str | None,
    typer.Option(
        "--warm-start",
        metavar="proxy:NAME[:N]",
        help="Score N (1000) random networks by a zero-cost proxy, and train the best of them first; see nas proxies.",
        show_default="none",
    ),
]
FeatureOption = Annotated[
    list[str] | None,
    typer.Option(
        "--feature",
        metavar="NAME",
        help="A zero-cost proxy whose scores the sampler predictor_guided looks at; repeatable. Costs seconds a trial.",
        show_default="none",
    ),
]
KnownOption = Annotated[
    bool,
    typer.Option(
        "--start-from-store",
        help="Begin with all trials of the store that were trained in the same way and lie in the space; "
        "the sampler knows them from the first proposal, and they cost no budget.",
    ),
]
ThenOption = Annotated[
    str | None,
    typer.Option(
        "--then",
        metavar="full:K",
        help="Then train K networks of the front with the full recipe, spread along it by the hypervolume they add, "
        "as a study of their own (STUDY-full); both fronts and their rank correlation are reported.",
        show_default="nothing",
    ),
]
ThenEpochsOption = Annotated[
    int | None,
    typer.Option(
        "--then-epochs", metavar="E", help="Epochs of that full training.", show_default="by the size of the data"
    ),
]
FidelityOption = Annotated[
    str | None,
    typer.Option(
        "--fidelity",
        metavar="RULE[:REDUCTION]",
        help="Train networks to a first rung, and let one in REDUCTION (3) go on from its checkpoint to the next: "
        "none, successive_halving, pareto_halving. Those that wait when the budget is spent are stopped there.",
        show_default="none",
    ),
]
RungOption = Annotated[
    list[str] | None,
    typer.Option(
        "--rung",
        metavar="epochs=SHARE[,resolution=SHARE][,images=SHARE]",
        help="A rung of one's own: where it is, and the size and number of the training images on the way there, as "
        "shares of the whole training's; repeatable.",
        show_default="the rule's, of epochs alone",
    ),
]
RepeatOption = Annotated[
    bool,
    typer.Option(
        "--repeat",
        help="Train also what the store holds a result of: the same network, recipe, data and seed. "
        "Without it that result is taken, as a trial that costs no time.",
    ),
]
RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        metavar="HOST:PORT",
        help="Train on the Ray cluster at this address, which this machine is part of.",
        show_default="this machine",
    ),
]
InlineOption = Annotated[
    bool, typer.Option("--inline", help="Train in this process, one network at a time, without Ray.")
]
TrainAsOption = Annotated[
    str | None,
    typer.Option(
        "--train-as",
        metavar="full|proxy",
        help="Train the network itself, or a shrunken twin; costs and limits are those of the network either way.",
        show_default="chosen from limits, data and device",
    ),
]
ProxyWidthOption = Annotated[
    float | None,
    typer.Option("--proxy-width", metavar="F", help="Factor on the twin's width.", show_default="the space's"),
]
ProxyDepthOption = Annotated[
    float | None,
    typer.Option("--proxy-depth", metavar="F", help="Factor on the twin's depth.", show_default="the space's"),
]
ProxyResolutionOption = Annotated[
    int | None,
    typer.Option(
        "--proxy-resolution", metavar="PX", help="Side of the twin's images in pixels.", show_default="the space's"
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    app.command(
        short_help="Search a design space and keep the front of the best networks.",
        epilog=examples(
            "nas search --space metaformer --budget 200",
            "nas search --space my_space.yaml --budget 40 --data /usr/share/datasets/fashion-mnist \\",
            "           --limit 'params<=1M' --train-as full",
            "nas search --space metaformer --budget 500 --objective accuracy:max --objective latency_ms:min \\",
            "           --limit 'latency_ms<=20' --start-from convnext_tiny --study fast",
            "nas search --space metaformer --budget 100 --then full:8     the best of them trained to the end",
            "nas search --space metaformer --budget 200 --fidelity successive_halving",
            "nas search --space tiny --budget 8 --inline --json | jq .front",
        ),
    )(search)


def search(
    space: SpaceOption,
    budget: BudgetOption,
    data: DataOption = "digits",
    objective: ObjectiveOption = None,
    limit: LimitOption = None,
    store: StoreOption = None,
    study: StudyOption = None,
    workers: WorkersOption = None,
    sampler: SamplerOption = None,
    seed: SeedOption = 0,
    start_from: StartOption = None,
    warm_start: WarmStartOption = None,
    feature: FeatureOption = None,
    start_from_store: KnownOption = False,
    repeat: RepeatOption = False,
    fidelity: FidelityOption = None,
    rung: RungOption = None,
    then: ThenOption = None,
    then_epochs: ThenEpochsOption = None,
    device: DeviceOption = None,
    ray_address: RayOption = None,
    inline: InlineOption = False,
    train_as: TrainAsOption = None,
    proxy_width: ProxyWidthOption = None,
    proxy_depth: ProxyDepthOption = None,
    proxy_resolution: ProxyResolutionOption = None,
    json: JsonOption = False,
) -> None:
    """Search a design space: draw networks, train them, keep the front of the best.

    Points that repeat an earlier one or break a limit are rejected before any training. Everything is stored as it
    happens: after Ctrl-C, a crash or a reboot, nas resume STUDY goes on where it stopped.
    """
    proxy = _proxy(space, train_as, proxy_width, proxy_depth, proxy_resolution)
    levels = _fidelity(fidelity, rung)
    chosen = {"sampler": sampler, "fidelity": levels, "train_as": train_as, "proxy": proxy, "warm_start": warm_start}
    values: dict[str, Any] = {
        "space": space,
        "budget": budget,
        "data": data,
        "seed": seed,
        "device": device,
        **_known(start_from, feature, start_from_store=start_from_store, repeat=repeat),
        "workers": workers_for(workers, device, ray_address, inline=inline),
        **_wanted(objective or (), limit or (), _follow_up(then, then_epochs)),
        **{key: value for key, value in chosen.items() if value is not None},
    }
    _begin(values, study, store, ray_address, inline=inline, json=json)


def _known(models: list[str] | None, features: list[str] | None, **whether: bool) -> dict[str, Any]:
    return {"start_from": tuple(models or ()), "features": tuple(features or ()), **whether}


def _wanted(objectives: Sequence[str], limits: Sequence[str], then: FollowUp | None) -> dict[str, Any]:
    from nas.objective import DEFAULT_OBJECTIVES, Limit, Objective, check

    aims = tuple(map(Objective.parse, objectives)) or DEFAULT_OBJECTIVES
    bounds = tuple(map(Limit.parse, limits))
    check(aims, bounds)
    return {"objectives": aims, "limits": bounds, "then": then}


def _fidelity(rule: str | None, rungs: list[str] | None) -> Fidelity | None:
    from nas.fidelity import Fidelity
    from nas.rungs import DEFAULT

    return None if rule is None and not rungs else Fidelity.parse(rule or DEFAULT, rungs or ())


def _follow_up(then: str | None, epochs: int | None) -> FollowUp | None:
    from nas.follow_up import FollowUp
    from space import NasError

    if then is None and epochs is not None:
        raise NasError(f"--then-epochs: {epochs}, allowed only with --then, as in --then full:5")
    return None if then is None else FollowUp.parse(then, epochs)


def _begin(
    values: dict[str, Any], study: str | None, store: str | None, ray_address: str | None, *, inline: bool, json: bool
) -> None:
    """Make the study and run it; settings that cannot be are refused before a store is made."""
    from nas.search import executor_for, run_search
    from nas.settings import SearchSettings

    settings = SearchSettings.make(study=study or "x", **values)
    executor = executor_for(settings, inline=inline, ray_address=ray_address)
    with open_store(store, write=True) as opened:
        settings = SearchSettings.make(study=study or _fresh(values["space"], opened), **values)
        place = Place(opened, settings.study, named=store is not None)
        show_search(lambda listen: run_search(opened, settings, executor=executor, on_event=listen), place, json=json)


def _fresh(space: str, opened: Store) -> str:
    from datetime import datetime

    from nas.naming import fresh_study_name

    return fresh_study_name(Path(space).stem, (summary.name for summary in opened.studies()), datetime.now())


def _proxy(
    space: str, train_as: str | None, width: float | None, depth: float | None, pixels: int | None
) -> dict[str, Any] | None:
    """Return the factors of the twin where the line gives any: those, the rest as in the space or by default."""
    from space import DesignSpace, NasError, Proxy

    design = DesignSpace.load(space)
    given = {key: v for key, v in (("width", width), ("depth", depth), ("resolution", pixels)) if v is not None}
    if not given:
        return None
    if train_as == "full":
        name = next(iter(given))
        raise NasError(f"--proxy-{name}: {given[name]}, allowed only with --train-as proxy, not full")
    return (design.proxy or Proxy()).model_dump() | given


def workers_for(workers: int | None, device: str | None, ray_address: str | None, *, inline: bool) -> int:
    """Return how many networks are trained at a time: as asked; else one a CPU core, one on a GPU, one inline."""
    from space import NasError

    if inline and ray_address is not None:
        raise NasError(f"--inline: stands beside --ray-address {ray_address!r}, one of the two is allowed")
    if inline and workers is not None and workers != 1:
        raise NasError(f"--inline: stands beside --workers {workers}, in this process one network is trained at a time")
    if workers is not None:
        return workers
    import torch

    if inline or (torch.cuda.is_available() if device is None else device.startswith("cuda")):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
