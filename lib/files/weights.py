"""Find, check, load and save weight files.

Weights are read into the network that the code builds, array by array with their shapes checked;
no architecture and no code is ever taken from a file. Readable are `.h5` (a whole model or weights,
written by Keras 2, tf.keras or Keras 3), `.weights.h5` and `.keras`.
"""

from __future__ import annotations

import itertools
import json
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from lib.files import safe_h5
from lib.files.errors import UserError, one_line
from lib.files.whole import write_whole

if TYPE_CHECKING:
    import keras

Shapes = list[tuple[int, ...]]


def find(name: str | Path, script: str | Path) -> Path:
    """Returns the path of the weight file `name`: as given, otherwise in weights/ next to `script`.

    Raises a UserError if it is in neither place.
    """
    shipped = Path(script).resolve().parent / "weights"
    for path in (Path(name), shipped / name):
        if path.is_file():
            return path
    have = ", ".join(sorted(p.name for p in shipped.glob("*.h5"))) or "none"
    raise UserError(
        f"no weight file '{name}': looked for it as given and in "
        f"{shipped.parent.name}/weights (there: {have})"
    )


def load(model: keras.Model, path: str | Path) -> None:
    """Loads the weights in the file `path` into `model`.

    Raises a UserError if the file is missing, broken, of no known format or of another network; the
    model is then unchanged.
    """
    path = Path(path)
    with safe_h5.opened(path) as file:
        root = file.get("model_weights", file)
        if "layer_names" in root.attrs:
            _load_legacy(model, root, path)
        elif file.driver != "core" and {"layers", "_layer_checkpoint_dependencies"} & file.keys():
            _load_keras_3(model, file, path)
        else:
            raise UserError(f"'{path}' holds no Keras weights; expected those of '{model.name}'")


def about(path: Path) -> dict[str, Any]:
    """The record that `save` wrote into an `.h5` file, or an empty dict.

    Raises a UserError if the file cannot be read.
    """
    with safe_h5.opened(path) as file:
        try:
            return dict(**json.loads(file.attrs.get("about", "{}")))
        except (ValueError, TypeError, RecursionError) as error:
            raise UserError(f"'{path}' has no readable record: {error}") from None


def save(
    model: keras.Model, path: str | Path, half: bool = False, about: dict[str, Any] | None = None
) -> None:
    """Writes `model` as one whole-model `.h5` file, whole or not at all.

    `keras.models.load_model` can also open the file. The layers are float32, also after training in
    mixed precision. Raises a UserError if the file cannot be written.

    Args:
        model: a functional or sequential model.
        path: the file, in a folder that exists.
        half: store the numbers in half precision, compressed: three digits remain, and half of the
            bytes or less.
        about: dict of json values that says what the weights are, such as method and settings. The
            file holds it as the attribute "about", which Keras ignores.
    """
    copy = type(model).from_config(_float32(model.get_config()))
    copy.set_weights(model.get_weights())
    # Keras warns that .h5 is a legacy format, which is intended here.
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with _InMemory("whole.h5") as whole, _InMemory("half.h5") as halved:
            copy.save(whole)
            if half:
                _halve(whole, halved)
            file = halved if half else whole
            file.attrs["about"] = json.dumps(about or {})
            file.flush()
            contents = safe_h5.signed(file.id.get_file_image())
    finally:
        logger.setLevel(level)
    write_whole(path, lambda temporary: temporary.write_bytes(contents))


class _InMemory(h5py.File):
    """An empty HDF5 file in memory, into which Keras saves a model as into a file of that name.

    HDF5 ends the whole process when it runs out of disk space; Python raises an error.
    """

    def __init__(self, name):
        super().__init__(name, "w", driver="core", backing_store=False)

    def __str__(self):
        return self.filename


def _halve(source: h5py.File, target: h5py.File) -> None:
    """Copies an `.h5` file with its arrays in compressed float16."""

    def copy(name, item):
        if isinstance(item, h5py.Dataset):
            array = item[()].astype("float16")
            made = target.create_dataset(name, data=array, compression="gzip", shuffle=True)
        else:
            made = target.require_group(name)
        made.attrs.update(item.attrs)

    target.attrs.update(source.attrs)
    source.visititems(copy)


def _float32(config: Any) -> Any:
    """A model's configuration with float32 layers, none frozen and none compiled.

    The format lists the arrays of a frozen sub-model in another order than `load` expects; the
    compilation settings of a model may need our code to be read.
    """
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return "float32"
        items = {key: _float32(value) for key, value in config.items() if key != "compile_config"}
        return {**items, "trainable": True} if "trainable" in items else items
    if isinstance(config, (list, tuple)):
        return type(config)(map(_float32, config))
    return config


def _load_legacy(model: keras.Model, root: h5py.Group, path: Path) -> None:
    """Loads a whole-model or weights `.h5`, whose arrays are in the order of the layers."""
    # The format lists each layer's trainable weights before its others, nested models included.
    groups = [(layer.trainable_weights, layer.non_trainable_weights) for layer in model.layers]
    variables = [v for trainable, others in groups for v in (*trainable, *others)]
    try:
        layers = (root[name] for name in root.attrs["layer_names"])
        listed = ((layer, name) for layer in layers for name in layer.attrs["weight_names"])
        # One more than expected at most: a file can name an array a million times.
        arrays = [layer[name] for layer, name in itertools.islice(listed, len(variables) + 1)]
        shapes = [array.shape for array in arrays]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"'{path}' is damaged: its list of layers does not fit: {one_line(error)[:200]}"
        ) from None
    _check_shapes(model, path, [tuple(v.shape) for v in variables], shapes)
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array[()])


def _check_shapes(model: keras.Model, path: Path, expected: Shapes, found: Shapes) -> None:
    if expected == found:
        return
    message = f"'{path}' belongs to another network than '{model.name}': expected "
    for i, (mine, its) in enumerate(zip(expected, found, strict=False), start=1):
        if mine != its:
            raise UserError(f"{message}shape {mine} for array {i} of {len(expected)}, found {its}")
    more = " or more" if len(found) > len(expected) else ""
    raise UserError(f"{message}{len(expected)} weight arrays, found {len(found)}{more}")


def _load_keras_3(model: keras.Model, file: h5py.File, path: Path) -> None:
    # Keras ignores further layers in the file, so compare with the model's own file.
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "own.weights.h5"
        model.save_weights(own)
        with h5py.File(own, "r") as mine:
            _check_shapes(model, path, _shapes(mine), _shapes(file))
    former = model.get_weights()
    try:
        model.load_weights(file.filename)
    except Exception as error:
        model.set_weights(former)
        raise UserError(
            f"'{path}' does not fit '{model.name}' ({len(former)} weight arrays, "
            f"{model.count_params():,} parameters): {one_line(error)[:200]}"
        ) from None


def _shapes(file: h5py.File) -> Shapes:
    """The shapes of the arrays in a file of Keras 3, without the arrays of an optimizer."""
    shapes: Shapes = []

    def add(name, item):
        if isinstance(item, h5py.Dataset) and not name.startswith("optimizer/"):
            shapes.append(item.shape)

    file.visititems(add)
    return shapes
