"""nas train, nas evaluate: train one network in full, and take its accuracy on the test images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.open import open_store
from nas.cli.options import DeviceOption, JsonOption, NetworkArgument, StoreOption, ThreadsOption, examples
from nas.cli.output import as_json, console, line, say
from nas.quantities import duration, measured, short

if TYPE_CHECKING:
    from rich.console import Console

    from nas.epoch_view import OnEpoch
    from nas.evaluation import Evaluated
    from nas.training import Trained
    from nas.training_plan import TrainingPlan
    from trials.training import Recipe

EpochsOption = Annotated[
    int | None,
    typer.Option(
        "--epochs", metavar="E", help="Passes over the training images.", show_default="by the size of the data"
    ),
]
ImagesOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DATA",
        help="Images to train on, named as in nas search.",
        show_default="those of the trial's study, else digits",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="FOLDER", help="Where to keep the training.", show_default="beside the store"),
]
ResolutionOption = Annotated[
    int | None,
    typer.Option("--resolution", metavar="PX", help="Side of the images in pixels.", show_default="the data's own"),
]
SeedOption = Annotated[int, typer.Option("--seed", metavar="S", help="Seed of weights, order and augmentation.")]
SparsityOption = Annotated[
    float | None,
    typer.Option(
        "--sparsity",
        metavar="S",
        help="Train a sparse network: this share of the weights of convolutions and linear layers is zero, "
        "and which ones changes while training.",
        show_default="a dense network",
    ),
]
RatiosOption = Annotated[
    str | None,
    typer.Option(
        "--sparse-ratios",
        metavar="snip|erk|uniform",
        help="How dense each layer is: by the saliency of its weights, by its shape, or all the same.",
        show_default="snip",
    ),
]
GrowthOption = Annotated[
    str | None,
    typer.Option(
        "--sparse-growth",
        metavar="random|gradient",
        help="Which weights come for the smallest ones: any, or those of the largest gradient.",
        show_default="random",
    ),
]
PruneOption = Annotated[
    float | None,
    typer.Option(
        "--prune-rate",
        metavar="F",
        help="Share of a layer's weights exchanged at first; it falls to 0.005.",
        show_default="0.3",
    ),
]
EveryOption = Annotated[
    int | None,
    typer.Option("--update-every", metavar="N", help="Steps from one exchange to the next.", show_default="100"),
]
TrainedArgument = Annotated[
    str, typer.Argument(metavar="CHECKPOINT|FOLDER", help="What nas train or nas export wrote.")
]
TestDataOption = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="DATA", help="Images with the same classes.", show_default="those it was trained on"
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    app.command(
        short_help="Train one network in full and take its test accuracy.",
        epilog=examples(
            "nas train STUDY:17",
            "nas train network.yaml --data cifar10 --epochs 60",
            "nas train convnext_tiny --data ~/photos --resolution 128 --out runs/photos",
            "nas train STUDY:17 --sparsity 0.4 --sparse-ratios erk",
        ),
    )(train)
    app.command(
        short_help="Take the test accuracy of a trained network.",
        epilog=examples(
            "nas evaluate runs/photos/network.safetensors", "nas evaluate my-network --data ~/photos --json"
        ),
    )(evaluate)


def train(
    network: NetworkArgument,
    data: ImagesOption = None,
    epochs: EpochsOption = None,
    resolution: ResolutionOption = None,
    out: OutOption = None,
    seed: SeedOption = 0,
    sparsity: SparsityOption = None,
    sparse_ratios: RatiosOption = None,
    sparse_growth: GrowthOption = None,
    prune_rate: PruneOption = None,
    update_every: EveryOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Train one network in full, print its accuracy on the test images and keep its weights.

    Cut off at any moment, the same command goes on from the last checkpoint.
    """
    from nas.training import run_training
    from nas.training_plan import plan_training

    exchange = {"prune_rate": prune_rate, "update_every": update_every}
    recipe = _recipe(sparsity, sparse_ratios=sparse_ratios, sparse_growth=sparse_growth, **exchange)
    with open_store(store, write=True) as opened:
        plan = plan_training(
            network,
            data,
            store=opened,
            epochs=epochs,
            out=out,
            resolution=resolution,
            seed=seed,
            threads=threads,
            device=device,
            recipe=recipe,
        )
        shown = console(stderr=json)
        shown.print(_intent(plan), soft_wrap=True)
        try:
            trained = _watched(shown, plan, lambda on_epoch: run_training(plan, opened, on_epoch))
        except KeyboardInterrupt:
            say(f"interrupted; {plan.folder} keeps the last checkpoint, the same command goes on from it")
            raise typer.Exit(130) from None
    if json:
        as_json(_trained_json(trained))
        return
    _show(trained)


def evaluate(
    trained: TrainedArgument,
    data: TestDataOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Take the accuracy of a trained network on the test images of a data set."""
    from nas.evaluation import evaluate_network

    found = evaluate_network(trained, data, threads=threads, device=device)
    if json:
        as_json(_evaluated_json(found))
        return
    line(f"test accuracy  {measured(found.test_accuracy, 'ratio')} on {found.images} images of {found.data}")
    line(f"test loss      {measured(found.test_loss, 'nats')}")


def _recipe(sparsity: float | None, **more: str | float | None) -> Recipe:
    """Return the full recipe, sparse where the line asks for it. Raises NasError."""
    from space import NasError
    from trials.training import FULL_RECIPE, Sparsity

    given = {name: value for name, value in more.items() if value is not None}
    if sparsity is not None:
        spec = Sparsity.make(sparsity=sparsity, **{name.removeprefix("sparse_"): given[name] for name in given})
        return FULL_RECIPE.model_copy(update={"sparsity": spec})
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise NasError(f"{options}: without --sparsity, which makes a training sparse")
    return FULL_RECIPE


def _intent(plan: TrainingPlan) -> str:
    verb = {"new": "training", "started": "going on with", "finished": "already trained:"}[plan.state]
    images = f"{len(plan.data.train)} images of {plan.data.name} at {plan.data.resolution} px"
    how = f"{plan.epochs} epochs, {plan.device}"
    if plan.recipe.sparsity:
        how += f", {plan.recipe.sparsity}, {plan.exchanges} exchanges"
    return f"{verb} {plan.origin.name} on {images}, {how}; folder {plan.folder}"


def _watched(shown: Console, plan: TrainingPlan, run: Callable[[OnEpoch], Trained]) -> Trained:
    from nas.epoch_view import watch_epochs

    with watch_epochs(shown, plan.epochs) as on_epoch:
        return run(on_epoch)


def _show(trained: Trained) -> None:
    line(f"test accuracy        {measured(trained.test_accuracy, 'ratio')}")
    line(f"validation accuracy  {measured(trained.validation_accuracy, 'ratio')}")
    macs = f"{short(trained.macs)} MACs at {trained.resolution} px"
    line(f"network              {short(trained.params)} parameters, {macs}")
    if (left := trained.effective) is not None:
        counts = f"{short(left.params)} parameters, {short(left.macs)} MACs"
        line(f"without zeros        {counts}; sparsity {measured(left.sparsity, 'ratio')}")
    line(f"training             {trained.epochs} epochs in {duration(trained.seconds)}")
    line(f"checkpoint           {trained.checkpoint}")
    line(f"next: nas export {trained.checkpoint} --to my-network")


def _trained_json(trained: Trained) -> dict[str, Any]:
    names = ("name", "test_accuracy", "validation_accuracy", "test_loss", "params", "macs", "resolution", "epochs")
    names += ("seconds", "data", "recorded")
    found = {name: getattr(trained, name) for name in names}
    effective = trained.effective.model_dump() if trained.effective else None
    return found | {"architecture": trained.arch.id, "checkpoint": str(trained.checkpoint), "effective": effective}


def _evaluated_json(found: Evaluated) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ("name", "data", "test_accuracy", "test_loss", "images")}
