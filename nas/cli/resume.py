"""nas resume: go on with a search, and watch it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.open import open_store, settings_of
from nas.cli.options import JsonOption, StoreOption, StudyArgument, examples
from nas.cli.search import InlineOption, RayOption, WorkersOption, workers_for
from nas.cli.watch import Place, show_search

if TYPE_CHECKING:
    from trials.store import Store

NewBudgetOption = Annotated[
    int | None,
    typer.Option("--budget", metavar="N", help="Networks to train in all.", show_default="the study's"),
]
NewSpaceOption = Annotated[
    str | None,
    typer.Option(
        "--space",
        metavar="FILE|PRESET",
        help="Go on in this space, an extension of the study's: choices added to lists, ranges widened. "
        "Trials stay valid; a space that one of them does not lie in is refused.",
        show_default="the study's",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command of this file to the command line."""
    app.command(
        short_help="Go on with a search after Ctrl-C, a crash or a reboot.",
        epilog=examples(
            "nas resume STUDY",
            "nas resume STUDY --budget 400",
            "nas resume STUDY --workers 4",
            "nas resume STUDY --space wider.yaml      go on in a space of more choices",
        ),
    )(resume)


def resume(
    study: StudyArgument,
    budget: NewBudgetOption = None,
    workers: WorkersOption = None,
    space: NewSpaceOption = None,
    store: StoreOption = None,
    ray_address: RayOption = None,
    inline: InlineOption = False,
    json: JsonOption = False,
) -> None:
    """Go on with a search after Ctrl-C, a crash or a reboot; finished trials are kept, open ones trained again.

    Trials that wait at a rung go on from there; those that were stopped at one stay where they are.
    """
    from nas.search import executor_for, resume_search

    with open_store(store, write=True, create=False) as opened:
        settings = settings_of(opened.study(study))
        _check_budget(budget, opened, study)
        many = workers or (None if inline else settings.workers)
        settings = settings.model_copy(
            update={"workers": workers_for(many, settings.device, ray_address, inline=inline)}
        )
        executor = executor_for(settings, inline=inline, ray_address=ray_address)
        place = Place(opened, study, named=store is not None)
        show_search(
            lambda listen: resume_search(
                opened, study, executor=executor, on_event=listen, budget=budget, workers=workers, space=space
            ),
            place,
            json=json,
        )


def _check_budget(budget: int | None, opened: Store, study: str) -> None:
    from space import NasError

    trained = opened.summary(study).trained
    if budget is not None and budget < trained:
        raise NasError(f"--budget: {budget}, the study {study!r} has trained {trained} networks already; allowed: more")
