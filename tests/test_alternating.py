"""The engine on the backend that KERAS_BACKEND names; test_backends.py runs it on the others."""

import keras
import numpy as np
import pytest
from conftest import load_script
from keras import layers, ops

from lib import gan
from lib.engine.alternating import AlternatingModel, Turn
from lib.engine.averaging import MovingAverage

RATE = 0.1


class Game(AlternatingModel):
    """x -> left -> y -> right -> z, without biases: right wants z = 0, left wants z = 1."""

    def __init__(self, seed=0):
        super().__init__()
        keras.utils.set_random_seed(seed)
        self.left = keras.Sequential([keras.Input((2,)), layers.Dense(3, use_bias=False)])
        self.right = keras.Sequential([keras.Input((3,)), layers.Dense(1, use_bias=False)])

    def left_output(self, x):
        return self.left(x)

    def right_loss(self, x, y):
        return ops.mean(self.right(y) ** 2)

    def left_loss(self, x, y):
        return ops.mean((self.right(y) - 1) ** 2)

    def turn(self, name, **kwargs):
        network = getattr(self, name)
        return Turn(
            name,
            network.trainable_variables,
            keras.optimizers.SGD(RATE),
            getattr(self, f"{name}_loss"),
            through_shared=name == "left",
            **kwargs,
        )

    def matrices(self):
        """The weights of both networks as float64 arrays, shapes (2, 3) and (3, 1)."""
        return [m.get_weights()[0].astype("float64") for m in (self.left, self.right)]


def batches(count, size, seed=1):
    return np.random.default_rng(seed).normal(size=(count * size, 2)).astype("float32")


def play(model, x, size):
    return model.fit(x=(x,), batch_size=size, shuffle=False, verbose=0).history


def numpy_right(x, w, v):
    y = x @ w
    return v - RATE * 2 / len(x) * y.T @ (y @ v)


def numpy_left(x, w, v):
    z = x @ w @ v
    return w - RATE * 2 / len(x) * x.T @ (z - 1) @ v.T


@pytest.mark.parametrize("name", ["left", "right"])
def test_a_turn_moves_its_own_variables_and_no_others(name):
    game = Game()
    game.compile([game.turn(name)], share=game.left_output)
    before = dict(zip(("left", "right"), game.matrices(), strict=True))
    play(game, batches(1, 4), 4)
    after = dict(zip(("left", "right"), game.matrices(), strict=True))
    for network in before:
        assert np.array_equal(before[network], after[network]) == (network != name)


def test_three_steps_of_one_turn_equal_a_numpy_loop():
    game = Game()
    game.compile([game.turn("right")], share=game.left_output)
    w, v = game.matrices()
    x = batches(3, 4)
    play(game, x, 4)
    for part in np.split(x, 3):
        v = numpy_right(part, w, v)
    np.testing.assert_allclose(game.matrices()[1], v, rtol=1e-5)


def test_turns_in_alternation_equal_a_numpy_loop():
    game = Game()
    game.compile([game.turn("right"), game.turn("left")], share=game.left_output)
    w, v = game.matrices()
    x = batches(3, 4)
    play(game, x, 4)
    for part in np.split(x, 3):
        v = numpy_right(part, w, v)
        w = numpy_left(part, w, v)
    for ours, expected in zip(game.matrices(), (w, v), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_rmsprop_with_decay_equals_a_numpy_loop():
    game = Game()
    rate, decay = 0.05, 0.5
    schedule = keras.optimizers.schedules.InverseTimeDecay(rate, 1, decay)
    turn = game.turn("right")
    turn.optimizer = keras.optimizers.RMSprop(schedule)
    game.compile([turn], share=game.left_output)
    w, v = game.matrices()
    x = batches(3, 4)
    play(game, x, 4)
    velocity = np.zeros_like(v)
    for step, part in enumerate(np.split(x, 3)):
        gradient = (v - numpy_right(part, w, v)) / RATE
        velocity = 0.9 * velocity + 0.1 * gradient**2
        v = v - rate / (1 + decay * step) * gradient / np.sqrt(velocity + 1e-7)
    np.testing.assert_allclose(game.matrices()[1], v, rtol=1e-4)


def test_a_turn_played_n_times_gets_n_fresh_parts_and_the_other_the_last():
    game = Game()
    game.compile([game.turn("right", times=3), game.turn("left")], share=game.left_output)
    w, v = game.matrices()
    x = batches(3, 4)
    play(game, x, 12)
    parts = np.split(x, 3)
    for part in parts:
        v = numpy_right(part, w, v)
    w = numpy_left(parts[-1], w, v)
    for ours, expected in zip(game.matrices(), (w, v), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_after_runs_after_every_play():
    game = Game()
    plays = game.add_weight(name="plays", initializer="zeros", trainable=False)
    weights = game.right.trainable_variables

    def clip():
        plays.assign_add(1)
        for weight in weights:
            weight.assign(ops.clip(weight, -0.01, 0.01))

    game.compile([game.turn("right", times=3, after=clip)], share=game.left_output)
    assert np.abs(game.matrices()[1]).max() > 0.01
    play(game, batches(6, 4), 12)
    assert np.abs(game.matrices()[1]).max() <= 0.01
    assert float(ops.convert_to_numpy(plays)) == 6


def test_losses_are_averaged_over_the_steps_of_one_fit():
    game = Game()
    game.compile([game.turn("right"), game.turn("left")], share=game.left_output)
    play(game, batches(2, 4), 4)
    w, v = game.matrices()
    x = batches(2, 4, seed=2)
    history = play(game, x, 4)
    expected = {"right": [], "left": []}
    for part in np.split(x, 2):
        expected["right"].append(np.mean((part @ w @ v) ** 2))
        v = numpy_right(part, w, v)
        expected["left"].append(np.mean((part @ w @ v - 1) ** 2))
        w = numpy_left(part, w, v)
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], [np.mean(values)], rtol=1e-5)


def test_further_values_of_a_loss_are_logged():
    game = Game()
    turn = game.turn("right", metrics=("largest",))
    turn.loss = lambda x, y: (game.right_loss(x, y), ops.max(x))
    game.compile([turn], share=game.left_output)
    x = batches(1, 4)
    np.testing.assert_allclose(play(game, x, 4)["largest"], [x.max()], rtol=1e-6)


class Noisy(AlternatingModel):
    """One turn with all kinds of state: noise, moving averages, and that of an optimizer."""

    def __init__(self, seed=0):
        super().__init__()
        keras.utils.set_random_seed(seed)
        self.seed = keras.random.SeedGenerator(seed)
        self.network = keras.Sequential(
            [keras.Input((1,)), layers.BatchNormalization(momentum=0.5), layers.Dense(1)]
        )
        turn = Turn(
            "only",
            self.network.trainable_variables,
            keras.optimizers.RMSprop(0.01),
            self.loss_of,
            metrics=("noise",),
        )
        self.compile([turn])

    def loss_of(self, x):
        noise = keras.random.normal(ops.shape(x), seed=self.seed)
        return ops.mean((self.network(x + noise, training=True) - 1) ** 2), ops.mean(noise)


def test_equal_seeds_give_equal_runs_and_other_seeds_others():
    runs = []
    for seed in (3, 3, 4):
        model = Noisy(seed)
        history = play(model, batches(5, 8)[:, :1], 8)
        runs.append([*model.get_weights(), history["noise"][0]])
    for a, b in zip(*runs[:2], strict=True):
        np.testing.assert_array_equal(a, b)
    assert runs[0][-1] != runs[2][-1]


def test_noise_is_fresh_in_every_step_and_moving_averages_move():
    model = Noisy()
    x = np.zeros((8, 1), "float32")
    means = [play(model, x, 8)["noise"][0] for _ in range(3)]
    assert len(set(means)) == 3
    # With momentum 0.5 and x = 0, the moving mean is a weighted sum of the means of the noise.
    expected = means[0] / 8 + means[1] / 4 + means[2] / 2
    moving_mean = keras.ops.convert_to_numpy(model.network.layers[0].moving_mean)
    np.testing.assert_allclose(moving_mean, [expected], rtol=1e-4)


def test_two_turns_with_one_optimizer_are_refused():
    game = Game()
    turns = [game.turn("right"), game.turn("left")]
    turns[1].optimizer = turns[0].optimizer
    with pytest.raises(ValueError, match="share one optimizer"):
        game.compile(turns)


def test_a_turn_without_variables_is_refused():
    game = Game()
    turn = game.turn("right")
    turn.variables = []
    with pytest.raises(ValueError, match="'right' has no variables"):
        game.compile([turn])


@pytest.mark.parametrize("index, moved", [(0, "discriminator"), (1, "generator")])
def test_dcgan_turns_move_their_own_network(index, moved):
    script = load_script("chapter4-gan/dcgan-mnist-4.2.1.py")
    gan = script.build_dcgan(seed=0)
    gan.compile([gan.turns[index]], share=gan.fakes)
    networks = {"discriminator": gan.discriminator, "generator": gan.generator}

    def trainable():
        return {
            name: [ops.convert_to_numpy(v) for v in network.trainable_variables]
            for name, network in networks.items()
        }

    before = trainable()
    play(gan, np.random.default_rng(0).random((2, 28, 28, 1), "float32"), 2)
    after = trainable()
    for name in networks:
        same = [np.array_equal(a, b) for a, b in zip(before[name], after[name], strict=True)]
        assert not any(same) if name == moved else all(same), name


class Slope(AlternatingModel):
    """A linear critic whose loss is the gradient penalty, and the average of its weights."""

    def __init__(self):
        super().__init__()
        self.critic = keras.Sequential(
            [keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(1, use_bias=False)]
        )
        self.critic.set_weights([np.full((4, 1), 1.5)])
        self.average = MovingAverage(self.critic, 0.5)

    def penalty(self, images, fakes):
        share = ops.ones((ops.shape(images)[0], 1, 1, 1))
        return gan.gradient_penalty(lambda x: self.critic(x, training=True), images, fakes, share)


def test_a_loss_may_contain_a_gradient_and_its_network_may_be_averaged():
    model = Slope()
    turn = Turn(
        "critic",
        model.critic.trainable_variables,
        keras.optimizers.SGD(0.1),
        model.penalty,
        after=model.average.update,
    )
    model.compile(turns=[turn], share=lambda images: images)
    images = np.ones((80, 2, 2, 1), "float32")
    model.fit(x=(images[:2],), batch_size=2, verbose=0)
    # Slope 3: the penalty (3 - 1)^2 has the gradient 2 (3 - 1) w / |w| = 2 in each weight.
    np.testing.assert_allclose(model.critic.get_weights()[0], 1.5 - 0.1 * 2, rtol=1e-4)
    # The first average takes 9 / 10 of the new weights.
    average = model.average.network
    np.testing.assert_allclose(average.get_weights()[0], 1.5 - 0.9 * 0.2, rtol=1e-4)
    model.fit(x=(images,), batch_size=2, verbose=0)
    assert np.linalg.norm(model.critic.get_weights()[0]) == pytest.approx(1, abs=1e-3)
    assert np.linalg.norm(average.get_weights()[0]) == pytest.approx(1, abs=1e-2)
