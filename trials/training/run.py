"""One training under way: its state, one epoch of it, and how it is saved."""

from __future__ import annotations

import math
from typing import Any

import torch
from timm.optim import create_optimizer_v2  # pyright: ignore[reportPrivateImportUsage]
from timm.utils.model_ema import ModelEmaV3
from torch import Generator, Tensor, nn

from trials.data import ImageData
from trials.seeds import derive_seed
from trials.training.augment import augmented
from trials.training.batches import batches
from trials.training.densities import sparsity_of
from trials.training.evaluation import evaluate
from trials.training.failure import TrainingFailed
from trials.training.precision import autocast, half_type
from trials.training.recipe import Recipe
from trials.training.sparse_training import SparseTraining

CHECK_EVERY = 32
"""Steps between two looks at the loss on a GPU, where each look waits for the device; on a CPU each step has one."""


class Run:
    """A training that stands between two epochs. `recipe.epochs` must be set (see `Recipe.for_data`)."""

    def __init__(
        self,
        model: nn.Module,
        data: ImageData,
        recipe: Recipe,
        seed: int,
        device: str,
        threads: int,
        *,
        images: float = 1.0,
    ) -> None:
        """Stand before the first epoch; `images` is the share of an epoch's images that are trained on for now."""
        self._data, self._recipe, self._seed, self._device, self._threads = data, recipe, seed, device, threads
        self._model = model.to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self._optimizer = create_optimizer_v2(
            self._model, opt="adamw", lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
        )
        self._ema = ModelEmaV3(self._model, decay=recipe.ema, use_warmup=True) if recipe.ema else None
        self._scaler = torch.amp.GradScaler(device, enabled=recipe.amp and half_type(device) is torch.float16)
        self._validation = data.validation.sample(recipe.validation_images or len(data.validation))
        self._images = max(1, round(images * min(len(data.train), recipe.epoch_images or len(data.train))))
        self._whole_steps = recipe.epoch_steps(len(data.train))
        self._steps = math.ceil(self._images / recipe.batch_size)
        self._diverged = max(10.0, 4 * math.log(len(data.classes)))
        self._kept: dict[str, Any] | None = None
        self.epochs: int = recipe.epochs or 1
        self.epoch: int = 0
        sparsity, steps = recipe.sparsity, self.epochs * self._whole_steps
        self._sparse = SparseTraining(self._model, sparsity, seed, steps) if sparsity else None

    @property
    def _judged(self) -> nn.Module:
        """The weights that are validated and kept: the moving average where there is one."""
        return self._ema.module if self._ema else self._model

    def train_epoch(self) -> dict[str, float]:
        """Train one epoch and validate. Raises TrainingFailed."""
        if self._sparse and self.epoch == 0:
            self._sparse.draw(self._plain_loss)
        seed = derive_seed("epoch", self._seed, self.epoch)
        torch.manual_seed(seed)
        generator = Generator().manual_seed(seed)
        order = torch.randperm(len(self._data.train), generator=generator)[: self._images]
        self._model.train()
        total = torch.zeros((), device=self._device)
        parts = order.tensor_split(self._steps)
        for step, (images, labels) in enumerate(batches(self._data.train, parts, margin=True, threads=self._threads)):
            total += self._step(images, labels, step, generator)
            if self._device == "cpu" or (step + 1) % CHECK_EVERY == 0 or step + 1 == self._steps:
                self._require(math.isfinite(total.item()), f"the loss is not finite at step {step + 1}")
        train_loss = total.item() / self._steps
        self._require(train_loss <= self._diverged, f"diverged, the training loss is {train_loss:.3g} nats")
        judged = self._judged
        metrics = evaluate(
            judged, self._validation, self._data, device=self._device, threads=self._threads, amp=self._recipe.amp
        )
        self._require(math.isfinite(metrics["loss"]), "the validation loss is not finite")
        self.epoch += 1
        self._keep(metrics)
        sparsity = {"sparsity": sparsity_of(judged)} if self._sparse else {}
        return metrics | {"train_loss": train_loss, "lr": self._optimizer.param_groups[0]["lr"]} | sparsity

    def finish(self) -> dict[str, float]:
        """Leave the kept weights in the model and return their validation metrics."""
        if self._kept is None:
            raise TrainingFailed("training: no epoch was trained")
        self._model.load_state_dict(self._kept["weights"])
        return dict(self._kept["metrics"])

    def state(self) -> dict[str, Any]:
        """Return all that the next epoch depends on; random states follow from the seed and the epoch."""
        kept = self._kept
        if kept is not None and kept["epoch"] == self.epoch:
            # the weights as they stand, which a file then holds once
            kept = kept | {"weights": self._judged.state_dict()}
        return {
            "epoch": self.epoch,
            "model": self._model.state_dict(),
            "ema": self._ema.module.state_dict() if self._ema else None,
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "kept": kept,
            "resolution": self._data.resolution,
        } | ({"masks": self._sparse.masks} if self._sparse else {})

    def load_state(self, state: dict[str, Any]) -> None:
        """Stand where `state` was taken."""
        self._model.load_state_dict(state["model"])
        if self._ema:
            self._ema.module.load_state_dict(state["ema"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        if self._sparse:
            self._sparse.load(state["masks"])
        # what was best at another resolution has been judged on other images
        alike = state.get("resolution", self._data.resolution) == self._data.resolution
        self._kept = state["kept"] if alike else None
        self.epoch = state["epoch"]

    def _step(self, images: Tensor, labels: Tensor, step: int, generator: Generator) -> Tensor:
        # an epoch of fewer images takes its few steps all along the whole epoch's way
        done = self.epoch * self._whole_steps + step * self._whole_steps // self._steps
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.lr * rate(done, self.epochs * self._whole_steps, self._recipe.warmup)
        inputs, targets = augmented(
            images.to(self._device), labels.to(self._device), self._data, self._recipe, generator
        )
        with autocast(self._device, self._recipe.amp):
            logits = self._logits(self._model, inputs)
        loss = targets.loss(logits.float(), self._recipe.label_smoothing)
        self._optimizer.zero_grad()
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimizer)
        if self._sparse:
            self._sparse.before_step(done + 1, self._optimizer)
        nn.utils.clip_grad_norm_(self._model.parameters(), self._recipe.clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        if self._ema:
            self._ema.update(self._model, done + 1)
        if self._sparse:
            self._sparse.after_step(self._ema.module if self._ema else None)
        return loss.detach()

    def _logits(self, model: nn.Module, inputs: Tensor) -> Tensor:
        logits: Tensor = model(inputs)
        found, classes = logits.shape, len(self._data.classes)
        self._require(found[1:] == (classes,), f"the network has {found[-1]} classes, the data {classes}")
        return logits

    def _plain_loss(self, model: nn.Module) -> Tensor:
        """Return the cross-entropy of `model` on one training batch, augmented but not mixed, in 32 bits."""
        generator = Generator().manual_seed(derive_seed("first batch", self._seed))
        part = torch.randperm(len(self._data.train), generator=generator)[: self._recipe.batch_size]
        ((images, labels),) = batches(self._data.train, [part], margin=True, threads=self._threads)
        unmixed = self._recipe.model_copy(update={"mix_probability": 0.0})
        inputs, targets = augmented(images.to(self._device), labels.to(self._device), self._data, unmixed, generator)
        return targets.loss(self._logits(model, inputs), 0.0)

    def _keep(self, metrics: dict[str, float]) -> None:
        better = self._kept is None or metrics["accuracy"] > self._kept["metrics"]["accuracy"]
        if better or self._recipe.keep == "last":
            weights = {name: value.detach().cpu().clone() for name, value in self._judged.state_dict().items()}
            self._kept = {"epoch": self.epoch, "metrics": metrics, "weights": weights}

    def _require(self, fine: bool, otherwise: str) -> None:
        if not fine:
            raise TrainingFailed(f"training: epoch {self.epoch + 1} of {self.epochs}: {otherwise}")


def rate(step: int, steps: int, warmup: float) -> float:
    """Return the learning rate at `step` of `steps` as a share of its peak: a linear rise, then half a cosine to 0."""
    rise = max(1, round(steps * warmup))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))
