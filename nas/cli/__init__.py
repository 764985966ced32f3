"""The command line: one file per group of commands, heavy imports inside the command functions.

search.py   nas search                          models.py   nas models list | show | verify
resume.py   nas resume                          bench.py    nas bench ops | search
studies.py  nas studies, nas trials, nas front  space.py    nas space check | sample | schema | size
train.py    nas train, nas evaluate             cost.py     nas cost
export.py   nas export                          report.py   nas report
bench.py    nas bench ops | models | search | latency   dashboard.py  nas dashboard
export_optuna.py  nas export-optuna             proxies.py  nas proxies list | rank
"""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli import (
    bench,
    cost,
    dashboard,
    export,
    export_optuna,
    models,
    proxies,
    report,
    resume,
    search,
    space,
    studies,
    train,
)
from nas.cli.options import examples

__all__ = ["app"]

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=examples(
        "nas search --space metaformer --budget 200          search a space on the bundled digits",
        "nas search --space metaformer --budget 40 --data ~/photos --limit 'params<=1M' --train-as full",
        "nas front STUDY                                     the best networks found",
        "nas train STUDY:17 --data cifar10                   train one of them in full",
        "nas export STUDY:17 --to my-network                 take it home",
        "nas COMMAND --help                                  what a command does, with examples",
    ),
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere on the line.")
    ] = False,
) -> None:
    """Explore the design space of modern vision backbones: search it, train what is found, take it home."""
    del debug  # taken off the line before parsing, so that it may follow the command as well
    if version:
        import nas

        typer.echo(f"nas {nas.__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


search.register(app)
resume.register(app)
studies.register(app)
train.register(app)
export.register(app)
report.register(app)
dashboard.register(app)
export_optuna.register(app)
cost.register(app)
app.add_typer(space.app, name="space")
app.add_typer(models.app, name="models")
app.add_typer(bench.app, name="bench")
app.add_typer(proxies.app, name="proxies")
