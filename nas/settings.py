"""What a search is asked to do: one frozen value, stored with the study as JSON and read back on resume."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from nas.fidelity import Fidelity
from nas.follow_up import FollowUp
from nas.naming import check_study_name
from nas.objective import DEFAULT_OBJECTIVES, Limit, Objective, check
from nas.warm_points import WarmPoints, WarmStart
from space import Proxy
from space.errors import NasError, explain
from trials.evaluator import Evaluator
from trials.training.recipe import Recipe

Count = Annotated[int, Field(ge=1)]
Pixels = Annotated[int, Field(ge=4, le=4096)]


class SearchSettings(BaseModel):
    """All that decides a search besides the space's text. Fields left None are chosen when the study is made."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    study: str
    """Name of the study."""
    space: str = "metaformer"
    """Space file or preset name; the text itself is stored with the study."""
    budget: Annotated[int, Field(ge=1, le=10_000_000)]
    """Trials to train: complete, stopped and failed ones count; rejected points do not."""
    data: str = "digits"
    """Data source, see `trials.data`."""
    data_seed: int = 0
    """Seed of the split into train, validation and test."""
    objectives: tuple[Objective, ...] = DEFAULT_OBJECTIVES
    limits: tuple[Limit, ...] = ()
    sampler: str = "predictor_guided"
    """Who proposes points; the default is the one that `nas bench search` shows to be best."""
    seed: int = 0
    """Seed of the search; the seed of a trial follows from it and from the architecture."""
    workers: Annotated[int, Field(ge=1, le=4096)] = 1
    """Trials trained at a time."""
    threads: Count = 1
    """CPU threads per worker."""
    device: str | None = None
    """Where workers train: `cpu`, `cuda`; None: CUDA where there is one."""
    start_from: tuple[str, ...] = ()
    """Named models, or `STUDY:NUMBER`, tried first."""
    warm_start: WarmStart | None = None
    """Score random points by a zero-cost proxy first, and train the best of them first."""
    warm_points: WarmPoints | None = None
    """What the warm start came to; None until it is over."""
    features: tuple[str, ...] = ()
    """Zero-cost proxies whose scores a sampler's predictor may look at."""
    start_from_store: bool = False
    """Begin with all trials of other studies that were made in the same way; they cost no budget."""
    fidelity: Fidelity = Fidelity()
    """How far trials are trained at first, and which of them go on."""
    then: FollowUp | None = None
    """What is trained with another recipe once the search has ended; None: nothing."""
    repeat: bool = False
    """Train again what the store holds a result of."""
    train_as: Literal["full", "proxy"] | None = None
    """Train the point itself, or its shrunken twin."""
    proxy: Proxy | None = None
    """Factors of the twin; None: the space file's, else chosen."""
    resolution: Pixels | None = None
    """Side in pixels of the images of a full training; None: the data's own. A proxy has its own resolution."""
    cost_resolution: Pixels | None = None
    """Side in pixels that params, MACs and latency refer to."""
    epochs: Count | None = None
    """Epochs of a trial; None: the recipe's."""
    recipe: Recipe | None = None
    """How trials are trained; None: the proxy recipe."""
    evaluators: tuple[Evaluator, ...] = ()
    """What is run for a trial; empty: training, and latency where an objective or a limit asks for it."""

    @classmethod
    def make(cls, **values: Any) -> SearchSettings:
        """Return the settings; objectives and limits may be texts such as `accuracy:max` and `params<=5M`.

        Raises:  NasError naming the field, its value and what is allowed.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            raise NasError("; ".join(explain(error, values))) from None

    @field_validator("study")
    @classmethod
    def _named(cls, name: str) -> str:
        return check_study_name(name)

    @field_validator("objectives", "limits", mode="before")
    @classmethod
    def _read(cls, items: Any, info: Any) -> Any:
        kind = Objective if info.field_name == "objectives" else Limit
        if isinstance(items, (list, tuple)):
            items = tuple(kind.parse(item) if isinstance(item, str) else item for item in items)
        return items or (DEFAULT_OBJECTIVES if kind is Objective else ())

    @field_validator("fidelity", mode="before")
    @classmethod
    def _read_fidelity(cls, value: Any) -> Any:
        return Fidelity.parse(value) if isinstance(value, str) else value

    @field_validator("warm_start", mode="before")
    @classmethod
    def _read_warm_start(cls, value: Any) -> Any:
        return WarmStart.parse(value) if isinstance(value, str) else value

    @field_validator("limits")
    @classmethod
    def _agree(cls, limits: tuple[Limit, ...], info: Any) -> tuple[Limit, ...]:
        check(info.data.get("objectives", DEFAULT_OBJECTIVES), limits)
        return limits
