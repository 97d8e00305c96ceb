"""The autoencoder whose encoder maps a state to features (section 10.6 of the book)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import numpy as np
from keras import layers

from lib.engine.backends import feed
from lib.files import weights
from lib.rl import agents
from lib.run import program

if TYPE_CHECKING:
    import gymnasium as gym

HIDDEN_LAYERS = (256, 128)
FEATURES = 32
STATES = 220_000
TEST_STATES = 20_000  # of these
EPOCHS = 10
BATCH_SIZE = 32


def build_encoder(state_size: int) -> keras.Model:
    """States (batch, state_size) -> features (batch, 32)."""
    states = x = keras.Input((state_size,), name="states")
    for units in HIDDEN_LAYERS:
        x = layers.Dense(units, activation="relu")(x)
    return keras.Model(states, layers.Dense(FEATURES, name="features")(x), name="encoder")


def train_encoder(
    encoder: keras.Model, space: gym.spaces.Box, standardize: bool, rng: np.random.Generator
) -> float:
    """Trains the encoder as part of an autoencoder, on states drawn evenly from the whole space.

    Args:
        encoder: from `build_encoder`.
        space: `low` and `high` bound the states (state_size,).
        standardize: give the states that the autoencoder sees, and the features, mean 0 and
            standard deviation 1. The first and the last layer contain the factors.
        rng: NumPy generator.

    Returns:
        float: The mean squared error on test states, rescaled if `standardize`.
    """
    states = rng.uniform(space.low, space.high, (STATES, len(space.low))).astype("float32")
    mean, std = (states.mean(0), states.std(0)) if standardize else (0, np.ones(len(space.low)))
    scaled = ((states - mean) / std).astype("float32")
    x = encoder.output
    for units in reversed(HIDDEN_LAYERS):
        x = layers.Dense(units, activation="relu")(x)
    autoencoder = keras.Model(encoder.input, layers.Dense(len(space.low))(x), name="autoencoder")
    autoencoder.compile(optimizer="adam", loss="mse")
    train, test = scaled[TEST_STATES:], scaled[:TEST_STATES]
    for epoch in range(EPOCHS):
        shuffled = rng.permutation(train)
        autoencoder.fit(**feed({"x": shuffled, "y": shuffled}, BATCH_SIZE), verbose=0)
        error = autoencoder.evaluate(test, test, batch_size=1000, verbose=0)
        print(f"encoder, epoch {epoch + 1}/{EPOCHS}: test MSE {error:.3g}", flush=True)
    if standardize:
        first, last = encoder.layers[1], encoder.layers[-1]
        kernel, bias = first.get_weights()
        first.set_weights([kernel / std[:, None], bias - (mean / std) @ kernel])
        features = encoder.predict(states, batch_size=1000, verbose=0)
        kernel, bias = last.get_weights()
        last.set_weights([kernel / features.std(0), (bias - features.mean(0)) / features.std(0)])
    return error


def load_or_train(
    run: program.Run,
    env_id: str,
    space: gym.spaces.Box,
    standardize: bool,
    given: str | None,
    saved: str,
) -> keras.Model:
    """Returns the encoder of the weight file `given`; without one, trains and saves it.

    A continuation loads the encoder that the interrupted run has `saved` under this file name. See
    `train_encoder` for space and standardize.
    """
    encoder = build_encoder(len(space.low))
    if given:
        path = agents.find(given, run.script, "encoder_weights.h5", "car_encoder.h5")
        weights.load(encoder, path)
    elif run.resume:
        weights.load(encoder, run.output_dir / saved)
    else:
        error = train_encoder(encoder, space, standardize, np.random.default_rng(run.seed))
        run.save(encoder, saved, environment=env_id)
        facts = {"environment": env_id, "standardize": standardize}
        run.record("encoder.json", test_mse=round(error, 7), **facts)
    return encoder
