"""A study in Optuna's storage: what Optuna reads is what the store holds."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from nas.objective import Objective
from nas.optuna_export import export_optuna
from nas.settings import SearchSettings
from space import DesignSpace, NasError
from trials.measurement import Measured
from trials.store import Store

STUDY = "digits-a"


def test_optuna_reads_the_study(nas, filled: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    ran = nas("export-optuna", STUDY, "--to", url, "--store", filled)
    assert (ran.code, ran.out) == (0, f"10 trials of {STUDY} written\n")
    study = optuna.load_study(storage=url, study_name=STUDY)
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.metric_names == ["accuracy", "macs"]
    with Store.open(filled) as store:
        rows = store.trials(store.study(STUDY).id, state="complete")
        from nas.front import front_points

        front = front_points(rows, (Objective.parse("accuracy:max"), Objective.parse("macs:min")))
    done = study.get_trials(states=(TrialState.COMPLETE,))
    assert [trial.values for trial in done] == [[row.values["accuracy"], float(row.macs or 0)] for row in rows]
    assert {trial.user_attrs["nas:trial"] for trial in study.best_trials} == {point.trial for point in front}
    failed = study.get_trials(states=(TrialState.FAIL,))
    assert {trial.user_attrs["nas:state"] for trial in failed} == {"failed", "infeasible", "duplicate"}
    assert any("loss is nan" in trial.user_attrs["nas:reason"] for trial in failed)


def test_choices_and_epochs_come_along(tmp_path: Path) -> None:
    space = DesignSpace.load("tiny")
    settings = SearchSettings.make(study="one", space="tiny", budget=3, objectives=("accuracy:max",))
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    import random

    rng = random.Random(0)
    with Store.open(tmp_path / "s.db") as store:
        config = settings.model_dump(mode="json")
        study = store.create_study("one", space=space.text, config=config, code_version="0", data_fingerprint="0")
        for number in range(3):
            arch = space.sample(rng)
            row = store.add_trial(
                study.id,
                state="queued",
                arch_id=arch.id,
                arch_json=arch.model_dump_json(),
                params=1,
                macs=1,
                choices=dict(space.encode(arch)),
                seed=0,
                sampler="tpe",
            )
            store.start_trial(row.id, worker="w", attempt=1)
            store.add_epoch(row.id, attempt=1, epoch=1, metrics={"accuracy": 0.1 * number})
            store.finish_trial(row.id, state="complete", measurements={"accuracy": Measured(0.2 * number, "ratio")})
        assert export_optuna(store, "one", url) == 3
        with pytest.raises(NasError, match="has a study 'one' already"):
            export_optuna(store, "one", url)
        rows = store.trials(study.id)
    loaded = optuna.load_study(storage=url, study_name="one")
    assert [trial.params for trial in loaded.trials] == [row.choices for row in rows]
    assert [trial.intermediate_values for trial in loaded.trials] == [{1: 0.1 * n} for n in range(3)]
    assert loaded.best_value == pytest.approx(0.4)
    figure = optuna.visualization.plot_optimization_history(loaded)
    assert len(figure.data[0].y) == 3


def test_a_storage_that_cannot_be_opened_is_one_line(refused, filled: Path) -> None:
    line = refused("export-optuna", STUDY, "--to", "nosuch://u:secret@x/y", "--store", filled)
    assert "secret" not in line
