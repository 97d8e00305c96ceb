"""Checkpoints: every variable of a model, its optimizer and its seeds, in one npz file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lib.engine import backends
from lib.files.arrays import NUMBERS, read_npz
from lib.files.errors import UserError, one_line
from lib.files.whole import write_whole


def _state(models: keras.Model | list[keras.Model]) -> list[keras.Variable]:
    """All variables of one or more models and their optimizers, in a fixed order, none twice."""
    variables = []
    for model in models if isinstance(models, list) else [models]:
        variables += model.variables
        optimizer = getattr(model, "optimizer", None)
        if optimizer is not None:
            backends.build_optimizer(model)
            variables += optimizer.variables
    return list({id(v): v for v in variables}.values())


def save_restart(
    path: Path,
    model: keras.Model | list[keras.Model],
    settings: dict[str, Any],
    progress: dict[str, Any],
    arrays: dict[str, np.ndarray] | None = None,
) -> None:
    """Writes a checkpoint, whole or not at all: after a kill, the former one is unchanged.

    Raises a UserError if the file cannot be written.

    Args:
        path: the npz file.
        model: a model or a list of models, whose variables and optimizers are kept.
        settings: values that must not differ in the continuation.
        progress, arrays: json values, such as how far the run is, and further arrays to keep.
    """
    header = {"settings": settings, "progress": progress}
    kept: dict[str, Any] = {f"kept_{name}": array for name, array in (arrays or {}).items()}
    state = {f"v{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(_state(model))}
    write_whole(path, lambda file: np.savez(file, header=json.dumps(header), **state, **kept))


def load_restart(
    path: Path,
    model: keras.Model | list[keras.Model],
    settings: dict[str, Any],
    use: Callable[[dict[str, Any], dict[str, np.ndarray]], object] = lambda progress, arrays: None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Restores the model from what `save_restart` wrote, and returns (progress, arrays).

    Raises a UserError if the file is missing or damaged, or belongs to another run or network.

    Args:
        path, model, settings: see `save_restart`.
        use: called with (progress, arrays) before the model is changed. Any error that it raises
            shows that they are not what `save_restart` got.
    """
    try:
        # Checkpoints are not compressed, so no array is larger than the file.
        arrays = read_npz(path, kinds=f"{NUMBERS}U", packed=False)
        header = json.loads(str(arrays.pop("header")))
        found, progress = header["settings"], header["progress"]
        kept = {name[5:]: arrays[name] for name in arrays if name.startswith("kept_")}
        values = [arrays[f"v{i}"] for i in range(len(arrays) - len(kept))]
        if not isinstance(found, dict) or not isinstance(progress, dict):
            raise ValueError("its settings or its progress are not a dictionary")
        for value in [*values, *kept.values()]:
            if value.dtype.kind not in NUMBERS or not np.isfinite(value).all():
                raise ValueError("it has values that are not finite numbers")
        for name, value in json.loads(json.dumps(settings)).items():
            # An older checkpoint does not know the settings that came later.
            if found.get(name, value) != value:
                raise UserError(
                    f"'{path}' belongs to a run with {name} {found.get(name)}, this one has "
                    f"{value}; give the same flags as that run, or start without --resume"
                )
        state = _state(model)
        if [tuple(v.shape) for v in state] != [a.shape for a in values]:
            raise UserError(f"'{path}' belongs to another network; start without --resume")
        use(progress, kept)
    except FileNotFoundError:
        raise UserError(
            f"nothing to resume: no checkpoint '{path}'; start without --resume"
        ) from None
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"'{path}' is not a usable checkpoint: {one_line(error)[:200]}; start without --resume"
        ) from None
    for variable, value in zip(state, values, strict=True):
        variable.assign(value)
    return progress, kept
