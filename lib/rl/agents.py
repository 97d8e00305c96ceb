"""Networks of agents: NumPy copies that act, updates, and weight files that record their agent."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from lib.engine import devices
from lib.engine.backends import feed
from lib.engine.step import AlternatingModel
from lib.files import weights
from lib.files.errors import UserError


def dense_layers(arrays: Sequence[np.ndarray], x: np.ndarray) -> np.ndarray:
    """Applies Dense layers in NumPy: ReLU after all but the last.

    For one state, a call of the Keras network takes about a hundred times longer.

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
    """NumPy copies of encoder and actor, which choose the actions.

    Args:
        encoder: Keras model of Dense layers, states -> features.
        actor: Keras model with the Dense layers "mean" and "std", the latter with a softplus.
        least_std: is added to the standard deviation.
    """

    def __init__(self, encoder: keras.Model, actor: keras.Model, least_std: float) -> None:
        self.layers = actor.get_layer("mean"), actor.get_layer("std")
        self.encoder, self.least_std = encoder, least_std
        self.copy()

    def copy(self) -> None:
        """Copies the weights of both networks."""
        self.encoder_weights = self.encoder.get_weights()
        self.copy_actor(self.weights())

    def weights(self) -> list[Any]:
        """Kernel (32, 2) and bias (2,) of the actor's layers side by side, as tensors."""
        pairs = zip(*(layer.weights for layer in self.layers), strict=True)
        return [ops.concatenate(pair, axis=-1) for pair in pairs]

    def copy_actor(self, weights: list[Any]) -> None:
        """Copies what `weights` returned in a compiled step; training changes no other weights."""
        self.actor_weights = [ops.convert_to_numpy(each) for each in weights]

    def features(self, state: np.ndarray) -> np.ndarray:
        """Features (32,) of a state."""
        return dense_layers(self.encoder_weights, state)

    def __call__(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (...) of the action for features (..., 32)."""
        policy = dense_layers(self.actor_weights, features)
        return policy[..., 0], np.logaddexp(0, policy[..., 1]) + self.least_std


class EpisodeModel(AlternatingModel):
    """A model whose step learns from one episode and logs its numbers, instead of their means.

    Resetting the means before each episode would take longer than the step.
    """

    metrics = property(lambda self: [])  # nothing is averaged

    def log(self, values: dict[str, Any] | None = None, /, **named: Any) -> None:
        """Adds tensors to the log of this episode."""
        self.logged |= {**(values or {}), **named}

    def run_step(self, batch: Sequence[Any]) -> dict[str, Any]:
        """Runs `step` on one episode and returns what it has logged."""
        self.logged: dict[str, Any] = {}
        self.play([ops.convert_to_tensor(array) for array in batch])  # PyTorch gets arrays
        return dict(self.logged)

    def update(self, *episode: np.ndarray) -> dict[str, Any]:
        """Runs the compiled step on the arrays of an episode.

        Returns:
            dict: What the step has logged: scalars as numbers, the others as tensors.
        """
        return self.train_on_batch(episode, return_dict=True)


def fill_up(*arrays: np.ndarray) -> list[np.ndarray]:
    """Fills float32 arrays (rows, ...) with zeros, so that few shapes have to be compiled.

    The last array gets a power of two of rows, at least 128. The others get as many more rows.
    """
    rows = len(arrays[-1])
    more = max(128, 1 << (rows - 1).bit_length()) - rows
    return [np.concatenate([a, np.zeros((more, *a.shape[1:]))]).astype("float32") for a in arrays]


def in_one_call(batches: int) -> int:
    """Returns how many of these batches one call of the compiled step can learn from."""
    try:
        return devices.steps_per_execution(batches)
    except UserError:  # with PyTorch, Keras makes one call each
        return 1


def train_on_batches(model: keras.Model, x: tuple[np.ndarray, ...], batch_size: int) -> float:
    """Updates a compiled model by one batch of the rows of x after the other.

    Returns:
        float: The mean loss.
    """
    if len(x[0]) == batch_size:
        return float(model.train_on_batch(x))
    # With `steps_per_execution`, this is faster than one call for each batch.
    return model.fit(**feed({"x": x}, batch_size), verbose=0).history["loss"][0]


def fingerprint(network: keras.Model) -> str:
    """Returns 16 hexadecimal digits that identify the weights of a network."""
    arrays = (array.astype("float32").tobytes() for array in network.get_weights())
    return hashlib.sha256(b"".join(arrays)).hexdigest()[:16]


def find(name: str, script: str | Path, book_name: str = "", ours: str = "") -> Path:
    """Returns and prints the path of a weight file, see `weights.find`.

    Without a file of the book's name, `ours` is the name of the pretrained file.
    """
    if name == book_name and not Path(name).is_file():
        name = ours
    path = weights.find(name, script)
    print(f"weights: {path}")
    return path


def load(
    network: keras.Model, path: Path, expected: dict[str, Any], encoder: keras.Model | None = None
) -> None:
    """Loads the weights of an agent's network.

    Raises a UserError, see `weights.load`; also if the file belongs to another agent.

    Args:
        network, path: the network and its file.
        expected: dict of facts that the record of the file must have, such as its environment.
        encoder: the network before this one, if any. A file in the book's own form has no record
            and begins with the layers of an encoder, which replaces the weights of this one.
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
