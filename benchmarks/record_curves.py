"""Record learning curves of random points of a space: the data that multi-fidelity rules and proxies are judged on.

    python benchmarks/record_curves.py [--data digits] [--points 200] [--again 20] [--out FILE]

Points are drawn as a search draws them and trained as its trials are: the shrunken twin that `nas search` chooses on a
CPU for such data, by its proxy recipe, with as many images in all as the recipe shows (digits: 3,456, Fashion-MNIST:
5,400 of its 54,000), but validated nine times on the way instead of three. The first `--again` points are trained a
second time with another seed, which tells noise from difference. The file is written anew after every training: a run
that was killed loses at most one, and the next run goes on from what is there. One thread; the seconds in the file are
CPU seconds. `--only N` ends after N trainings, to look at them first.
"""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nas.admission import Admission
from nas.bench.curves import CurvePoint, CurveRun, Curves
from nas.fitted_space import FittedSpace
from nas.quantities import duration
from nas.training_size import TrainingSize
from space import DesignSpace, NasError, Proxy
from trials.data import ImageData, load_data
from trials.evaluator import Job, run_job
from trials.evaluators.train import Train
from trials.seeds import trial_seed
from trials.training import PROXY_RECIPE, Recipe

TWIN = Proxy(width=0.0625, depth=0.25, resolution=32)
"""What `nas search --space metaformer` trains on one CPU core, for digits as for Fashion-MNIST."""
EPOCHS = 9
"""Readings of a curve: two rungs of a third each fit into it."""
COST_RESOLUTION = 224
FOLDER = Path(__file__).parent / "curves"


def recipe_for(data: ImageData) -> Recipe:
    """Return the proxy recipe with its images cut into nine epochs."""
    whole = PROXY_RECIPE.for_data(len(data.train))
    shown = (whole.epochs or 1) * min(len(data.train), whole.epoch_images or len(data.train))
    parts = {"epochs": EPOCHS, "epoch_images": round(shown / EPOCHS)}
    return PROXY_RECIPE.model_copy(update=parts).for_data(len(data.train))


def draw(space: str, data: ImageData, count: int, seed: int) -> tuple[CurvePoint, ...]:
    """Draw distinct points of the space that can be trained; more points begin with the same ones."""
    fitted = FittedSpace(DesignSpace.load(space), classes=len(data.classes), in_channels=data.channels)
    size = TrainingSize("proxy", TWIN, TWIN.resolution, COST_RESOLUTION)
    admission = Admission(fitted.at(COST_RESOLUTION), size, ())
    rng, points = random.Random(seed), list[CurvePoint]()
    while len(points) < count:
        arch = admission.draw(rng)
        if arch is None:
            raise NasError(f"{space}: has only {len(points)} points, {count} were asked for")
        admission.seen[arch.id] = len(points)
        own, twin = size.cost(arch), size.training_cost(arch)
        dumped = arch.model_dump(mode="json")
        points.append(CurvePoint(arch.id, dumped, own.params, own.macs, twin.params, twin.macs))
    return tuple(points)


def head(args: Any, data: ImageData) -> dict[str, Any]:
    """Return what holds for all trainings of a file."""
    recipe = recipe_for(data)
    return {
        "space": args.space,
        "data": data.name,
        "fingerprint": data.fingerprint,
        "train_images": len(data.train),
        "images_an_epoch": recipe.epoch_images,
        "validation_images": min(len(data.validation), recipe.validation_images or len(data.validation)),
        "proxy": TWIN.model_dump(),
        "resolution": TWIN.resolution,
        "cost_resolution": COST_RESOLUTION,
        "recipe": recipe.model_dump(mode="json"),
        "seed": args.seed,
        "threads": 1,
        "device": "cpu",
        "torch": str(torch.__version__),
        "command": f"python benchmarks/record_curves.py --data {data.name} --points {args.points} --again {args.again}",
    }


def trained(point: CurvePoint, index: int, repeat: int, spec: str, recipe: Recipe) -> CurveRun:
    """Train a point to the end, as a worker of a search does."""
    arch = point.architecture()
    seed = trial_seed(repeat, point.id)
    job = Job(
        trial_number=index, arch=arch, train_arch=TWIN.shrink(arch), data=spec, recipe=recipe,
        resolution=TWIN.resolution, cost_resolution=COST_RESOLUTION, seed=seed, evaluators=(Train(),),
    )  # fmt: skip
    epochs: list[tuple[float, float, float]] = []
    begin = time.process_time()

    def on_epoch(epoch: int, metrics: dict[str, float]) -> None:
        nonlocal begin
        now = time.process_time()
        epochs.append((round(metrics["accuracy"], 6), round(metrics["loss"], 5), round(now - begin, 4)))
        begin = now

    failure = None
    try:
        run_job(job, on_epoch)
    except NasError as error:
        failure = str(error)
    accuracy, loss, seconds = zip(*epochs, strict=True) if epochs else ((), (), ())
    return CurveRun(index, repeat, seed, accuracy, loss, seconds, failure)


def begun(path: Path, wanted: Curves) -> Curves:
    """Return what the file holds already. Raises NasError where it is of another recording."""
    if not path.exists():
        return wanted
    found = Curves.load(path)
    for key in ("space", "fingerprint", "proxy", "recipe", "seed", "torch"):
        if found.head.get(key) != wanted.head[key]:
            raise NasError(f"{path}: recorded with {key} {found.head.get(key)!r}, now {wanted.head[key]!r}")
    shared = min(len(found.points), len(wanted.points))
    if [p.id for p in found.points[:shared]] != [p.id for p in wanted.points[:shared]]:
        raise NasError(f"{path}: its points are not those that the space gives today; record into another file")
    points = found.points if len(found.points) > len(wanted.points) else wanted.points
    return replace(wanted, points=points, runs=found.runs)


def main() -> None:
    """Record what is missing, one line a training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--space", default="metaformer")
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--again", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, default=None)
    parser.add_argument("--out", type=Path, default=None)
    args: Any = parser.parse_args()
    torch.set_num_threads(1)
    data = load_data(args.data, resolution=TWIN.resolution)
    path = args.out or FOLDER / f"{data.name}.json.gz"
    curves = begun(path, Curves(head(args, data), draw(args.space, data, args.points, args.seed), ()))
    order = [(index, 0) for index in range(args.points)]
    order[args.again : args.again] = [(index, 1) for index in range(min(args.again, args.points))]
    done = {(run.point, run.repeat) for run in curves.runs}
    left = [each for each in order if each not in done][: args.only]
    print(f"{path}: {len(done)} trainings are there, {len(left)} to make", flush=True)
    begin, spent = time.monotonic(), time.process_time()
    for number, (index, repeat) in enumerate(left, 1):
        point = curves.points[index]
        run = trained(point, index, repeat, args.data, recipe_for(data))
        curves = replace(curves, runs=(*curves.runs, run))
        curves.save(path)
        eta = (time.monotonic() - begin) / number * (len(left) - number)
        result = (
            run.failure or f"{100 * run.accuracy[-1]:5.1f} %, {point.macs / 1e6:8.1f}M MACs, {sum(run.seconds):5.1f} s"
        )
        print(f"{number}/{len(left)} point {index} repeat {repeat}: {result}; {duration(eta)} left", flush=True)
    print(f"{path}: {len(curves.runs)} trainings, {duration(time.process_time() - spent)} CPU", flush=True)


if __name__ == "__main__":
    main()
