"""Networks of agents: NumPy copies that act, updates, and weight files that record their agent."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lib.engine.backends import build_optimizer, feed
from lib.files import weights
from lib.files.errors import UserError
from lib.run import program


def dense_layers(arrays: Sequence[np.ndarray], x: np.ndarray) -> np.ndarray:
    """Applies Dense layers in NumPy: ReLU after all but the last.

    An agent needs the output for one state per step. A call of the Keras network takes about a
    hundred times longer than its arithmetic.

    Args:
        arrays: the kernels and biases of the layers in turn, as from `get_weights`.
        x: (..., inputs).

    Returns:
        The output (..., outputs).
    """
    for kernel, bias in zip(arrays[:-2:2], arrays[1:-2:2], strict=True):
        x = np.maximum(x @ kernel + bias, 0)
    return x @ arrays[-2] + arrays[-1]


class NumpyPolicy:
    """NumPy copies of encoder, actor and value network.

    Args:
        encoder: Keras model of Dense layers, states -> features.
        actor: Keras model with the Dense layers "mean" and "std", the latter with a softplus.
        value: Keras model of a Dense layer, features -> value.
        least_std: is added to the standard deviation.
    """

    def __init__(
        self, encoder: keras.Model, actor: keras.Model, value: keras.Model, least_std: float
    ) -> None:
        self.encoder, self.actor, self.value_network = encoder, actor, value
        self.least_std = least_std
        self.update()

    def update(self) -> None:
        """Copies the weights again."""
        self.encoder_weights = self.encoder.get_weights()
        self.value_weights = self.value_network.get_weights()
        mean, std = (self.actor.get_layer(name).get_weights() for name in ("mean", "std"))
        self.policy_weights = [np.hstack(pair) for pair in zip(mean, std, strict=True)]

    def features(self, state: np.ndarray) -> np.ndarray:
        """Features (32,) of a state."""
        return dense_layers(self.encoder_weights, state)

    def __call__(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (...) of the action for features (..., 32)."""
        policy = dense_layers(self.policy_weights, features)
        return policy[..., 0], np.logaddexp(0, policy[..., 1]) + self.least_std

    def value(self, features: np.ndarray) -> np.ndarray:
        """Values (...) for features (..., 32)."""
        return dense_layers(self.value_weights, features)[..., 0]


def train_on_rows(
    model: keras.Model, x: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Updates a compiled model once, by the mean of its loss over the rows of a batch of any size.

    The last row is repeated with weight 0 up to a power of two rows, because each new shape is
    compiled.

    Args:
        model: a compiled Keras model.
        x, y: arrays (rows, ...).
        weights: (rows,) factors of the rows' losses in the mean; 1 if missing.

    Returns:
        float: The loss.
    """
    build_optimizer(model)
    rows = len(x)
    size = rows if rows == 1 else max(128, 1 << (rows - 1).bit_length())
    weights = np.ones(rows, "float32") if weights is None else weights
    more = [(0, size - rows)]
    x, y = (np.pad(a, more + [(0, 0)] * (a.ndim - 1), mode="edge") for a in (x, y))
    # Keras divides the sum by all rows.
    weights = np.pad(weights * np.float32(size / rows), more)
    model.reset_metrics()
    return float(model.train_on_batch(x, y, sample_weight=weights))


def train_on_batches(
    model: keras.Model, x: np.ndarray | tuple[np.ndarray, ...], y: np.ndarray, batch_size: int
) -> float:
    """Updates a compiled model by one batch after the other, in the order of the rows.

    For many batches, `fit` with `steps_per_execution` is faster than one call each.

    Args:
        model: a compiled Keras model.
        x, y: arrays (rows, ...), or a tuple of arrays for x.
        batch_size: rows of a batch.

    Returns:
        float: The mean loss.
    """
    build_optimizer(model)
    if len(y) == batch_size:
        model.reset_metrics()
        return float(model.train_on_batch(x, y))
    return model.fit(**feed({"x": x, "y": y}, batch_size), verbose=0).history["loss"][0]


def fingerprint(network: keras.Model) -> str:
    """Returns 16 hexadecimal digits that identify the weights of a network."""
    digest = hashlib.sha256()
    for array in network.get_weights():
        digest.update(array.astype("float32").tobytes())
    return digest.hexdigest()[:16]


def find(name: str, script: str | Path, aliases: dict[str, str] | None = None) -> Path:
    """Returns the path of a weight file and prints it.

    Args:
        name: of the file, see `weights.find`.
        script: whose folder has the pretrained weights.
        aliases: {the book's name of a file: our name}, for names without a file.
    """
    if not Path(name).is_file():
        name = (aliases or {}).get(name, name)
    path = weights.find(name, script)
    print(f"weights: {path}")
    return path


def load(
    network: keras.Model, path: Path, expected: dict[str, Any], encoder: keras.Model | None = None
) -> None:
    """Loads the weights of an agent's network.

    The file of an actor or value network in the book's own form has no record and begins with the
    layers of its encoder. Its encoder then also replaces the weights of `encoder`.

    Args:
        network: the network.
        path: the file.
        expected: dict of facts that the record of the file must have, such as its environment.
        encoder: the network before this one, or None.

    Raises:
        UserError: see `weights.load`; also if the file belongs to another agent.
    """
    about = weights.about(path)
    for name, value in expected.items():
        if about and about.get(name) != value:
            raise UserError(
                f"'{path}' has the {name} {about.get(name)}, expected {value}; "
                "choose the file of this agent, or the flags that the file was trained with"
            )
    if about or encoder is None:
        weights.load(network, path)
        return
    states = keras.Input(encoder.input_shape[1:])
    try:
        weights.load(keras.Model(states, network(encoder(states)), name=network.name), path)
    except UserError as error:
        raise UserError(
            f"{error} (a file without a record must be in the book's form, with the layers of the "
            "encoder)"
        ) from None
    print(f"encoder: that in {path}")


def load_networks(
    run: program.Run,
    networks: dict[str, keras.Model],
    files: dict[str, str | None],
    stem: str,
    expected: dict[str, Any],
    encoder: keras.Model | None = None,
) -> None:
    """Loads the networks for which there are files.

    Args:
        run: of the script, which has the pretrained weights next to it.
        networks: {name: network}.
        files: {name: weight file, or None}.
        stem: the pretrained files are called STEM_NAME.h5, the book's NAME_weights.h5.
        expected, encoder: see `load`.
    """
    for name, network in networks.items():
        file = files.get(name)
        if file:
            path = find(file, run.script, {f"{name}_weights.h5": f"{stem}_{name}.h5"})
            load(network, path, expected, encoder)


def save_networks(
    run: program.Run, networks: dict[str, keras.Model], stem: str, end: str, **about: Any
) -> None:
    """Saves networks as STEM_NAMEEND.h5.

    Args:
        run: of the script, whose settings the files record.
        networks: {name: network}.
        stem, end: start and end of the file names.
        about: further json values that say what the weights are.
    """
    for name, network in networks.items():
        run.save(network, f"{stem}_{name}{end}.h5", **about)
