"""The engine on the backend that KERAS_BACKEND names; test_backends.py runs it on the others."""

import keras
import numpy as np
import pytest
from conftest import load_script
from keras import layers, ops

from lib.engine.step import AlternatingModel

RATE = 0.1


def sgd():
    return keras.optimizers.SGD(RATE)


class Game(AlternatingModel):
    """x -> left -> y -> right -> z, without biases: right wants z = 0, left wants z = 1."""

    def __init__(self, *order, optimizer=sgd, step=None, seed=0):
        super().__init__("game")
        keras.utils.set_random_seed(seed)
        self.left = keras.Sequential([keras.Input((2,)), layers.Dense(3, use_bias=False)])
        self.right = keras.Sequential([keras.Input((3,)), layers.Dense(1, use_bias=False)])
        self.order, self.own_step = order, step
        self.optimizers = {name: self.bind(optimizer(), getattr(self, name)) for name in order}

    def step(self, x):
        if self.own_step is not None:
            self.own_step(self, x)
            return
        y = self.follow(self.left, x)
        for name in self.order:
            self.update(name, y)

    def update(self, name, y):
        loss = getattr(self, f"{name}_loss")
        self.log({name: self.minimize(self.optimizers[name], loss, y)})

    def right_loss(self, y):
        return ops.mean(self.right(y) ** 2)

    def left_loss(self, y):
        return ops.mean((self.right(y) - 1) ** 2)

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
def test_an_update_moves_its_own_variables_and_no_others(name):
    game = Game(name)
    before = dict(zip(("left", "right"), game.matrices(), strict=True))
    play(game, batches(1, 4), 4)
    after = dict(zip(("left", "right"), game.matrices(), strict=True))
    for network in before:
        assert np.array_equal(before[network], after[network]) == (network != name)


def test_three_steps_of_one_update_equal_a_numpy_loop():
    game = Game("right")
    w, v = game.matrices()
    x = batches(3, 4)
    play(game, x, 4)
    for part in np.split(x, 3):
        v = numpy_right(part, w, v)
    np.testing.assert_allclose(game.matrices()[1], v, rtol=1e-5)


def test_updates_in_alternation_equal_a_numpy_loop():
    game = Game("right", "left")
    w, v = game.matrices()
    x = batches(3, 4)
    play(game, x, 4)
    for part in np.split(x, 3):
        v = numpy_right(part, w, v)
        w = numpy_left(part, w, v)
    for ours, expected in zip(game.matrices(), (w, v), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_rmsprop_with_decay_equals_a_numpy_loop():
    rate, decay = 0.05, 0.5
    schedule = keras.optimizers.schedules.InverseTimeDecay(rate, 1, decay)
    game = Game("right", optimizer=lambda: keras.optimizers.RMSprop(schedule))
    w, v = game.matrices()
    x = batches(3, 4)
    play(game, x, 4)
    velocity = np.zeros_like(v)
    for step, part in enumerate(np.split(x, 3)):
        gradient = (v - numpy_right(part, w, v)) / RATE
        velocity = 0.9 * velocity + 0.1 * gradient**2
        v = v - rate / (1 + decay * step) * gradient / np.sqrt(velocity + 1e-7)
    np.testing.assert_allclose(game.matrices()[1], v, rtol=1e-4)


def three_parts(game, x):
    """Three updates of right on parts of the batch, then one of left on the last part."""
    for part in ops.split(x, 3):
        y = game.follow(game.left, part)
        game.update("right", y)
    game.update("left", y)


def test_a_loop_over_parts_gives_each_update_fresh_examples():
    game = Game("right", "left", step=three_parts)
    w, v = game.matrices()
    x = batches(3, 4)
    history = play(game, x, 12)
    losses = []
    for part in np.split(x, 3):
        losses.append(np.mean((part @ w @ v) ** 2))
        v = numpy_right(part, w, v)
    w = numpy_left(part, w, v)
    for ours, expected in zip(game.matrices(), (w, v), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5)
    np.testing.assert_allclose(history["right"], [np.mean(losses)], rtol=1e-5)


def test_a_line_after_an_update_runs_after_each():
    def clipped(game, x):
        for part in ops.split(x, 3):
            game.update("right", game.follow(game.left, part))
            plays.assign_add(1)
            for weight in game.right.trainable_variables:
                weight.assign(ops.clip(weight, -0.01, 0.01))

    game = Game("right", step=clipped)
    plays = game.add_weight(name="plays", initializer="zeros", trainable=False)
    assert np.abs(game.matrices()[1]).max() > 0.01
    play(game, batches(6, 4), 12)
    assert np.abs(game.matrices()[1]).max() <= 0.01
    assert float(ops.convert_to_numpy(plays)) == 6


def test_losses_are_averaged_over_the_steps_of_one_fit():
    game = Game("right", "left")
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


def test_the_learning_rate_of_a_loss_has_its_name():
    schedule = keras.optimizers.schedules.InverseTimeDecay(0.5, 1, 1.0)
    game = Game("right", optimizer=lambda: keras.optimizers.SGD(schedule))
    play(game, batches(3, 4), 4)
    rates = {name: float(ops.convert_to_numpy(r)) for name, r in game.learning_rates().items()}
    assert rates == {"right": pytest.approx(0.5 / 4)}


def test_further_values_of_a_loss_are_returned_and_may_be_logged():
    def step(game, x):
        def loss(y):
            return game.right_loss(y), ops.max(y), {"inner": ops.min(y)}

        _, largest, rest = game.minimize(game.optimizers["right"], loss, x @ ops.ones((2, 3)))
        game.log({"the largest": largest}, smallest=rest["inner"])

    game = Game("right", step=step)
    x = batches(1, 4)
    history = play(game, x, 4)
    np.testing.assert_allclose(history["the largest"], [x.sum(axis=1).max()], rtol=1e-5)
    np.testing.assert_allclose(history["smallest"], [x.sum(axis=1).min()], rtol=1e-5)


def test_one_optimizer_may_update_two_networks_of_which_one_is_followed():
    def both_loss(y, left, x):
        return ops.mean(game.right(y) ** 2) + ops.mean(left(x) ** 2)

    def step(game, x):
        y = game.follow(game.left, x)
        game.log(both=game.minimize(optimizer, both_loss, y, game.left, x))

    game = Game(step=step)
    optimizer = game.bind(keras.optimizers.SGD(RATE), game.right, game.left)
    w, v = game.matrices()
    x = batches(1, 4).astype("float64")
    play(game, x.astype("float32"), 4)
    z = x @ w @ v
    direct = 2 / 12 * x.T @ (x @ w)  # the mean is over 4 x 3 values
    expected_w = w - RATE * (2 / 4 * x.T @ z @ v.T + direct)
    expected_v = v - RATE * 2 / 4 * (x @ w).T @ z
    for ours, expected in zip(game.matrices(), (expected_w, expected_v), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_no_gradient_passes_through_follow_into_its_inputs():
    def step(game, x):
        y = game.follow(game.left, x)
        z = game.follow(game.right, y.value)
        game.log(right=game.minimize(game.optimizers["right"], lambda z: ops.mean(z**2), z))

    game = Game("right", "left", step=step)
    w, v = game.matrices()
    x = batches(1, 4)
    play(game, x, 4)
    np.testing.assert_array_equal(game.matrices()[0], w.astype("float32"))
    np.testing.assert_allclose(game.matrices()[1], numpy_right(x, w, v), rtol=1e-5)


# Mistakes


def value_instead(game, x):
    y = game.follow(game.left, x).value
    game.minimize(game.optimizers["left"], game.left_loss, y)


def computed(game, x):
    game.minimize(game.optimizers["left"], game.left_loss, ops.tanh(game.follow(game.left, x)))


def multiplied(game, x):
    game.minimize(game.optimizers["left"], game.left_loss, 2 * game.follow(game.left, x))


def concatenated(game, x):
    y = game.follow(game.left, x)
    game.minimize(game.optimizers["left"], game.left_loss, ops.concatenate([y.value, y]))


def sliced(game, x):
    game.minimize(game.optimizers["left"], game.left_loss, game.follow(game.left, x)[:2])


def stale(game, x):
    y = game.follow(game.left, x)
    game.update("left", y)
    game.update("left", y)


UNBOUND = keras.optimizers.SGD(RATE)


def unbound(game, x):
    game.minimize(UNBOUND, game.left_loss, game.follow(game.left, x))


def unlogged(game, x):
    game.minimize(game.optimizers["left"], game.left_loss, game.follow(game.left, x))


@pytest.mark.parametrize(
    ("step", "error", "text"),
    [
        (value_instead, ValueError, "does not depend on the variables.*not its .value"),
        (computed, TypeError, r"the output of follow\(\w+\) is not a tensor"),
        (multiplied, TypeError, r"the output of follow\(\w+\) is not a tensor"),
        (concatenated, TypeError, r"the output of follow\(\w+\) is not a tensor"),
        (sliced, TypeError, r"the output of follow\(\w+\) is not a tensor"),
        (stale, ValueError, "stale now: follow it again"),
        (unbound, ValueError, "bind it to networks first"),
        (unlogged, ValueError, "step logged nothing"),
    ],
    ids=lambda case: getattr(case, "__name__", ""),
)
def test_a_mistake_in_a_step_has_a_clear_text(step, error, text):
    game = Game("right", "left", step=step)
    with pytest.raises(error, match=text):
        play(game, batches(1, 4), 4)


def test_an_optimizer_cannot_be_bound_twice_or_to_nothing():
    game = Game("right")
    with pytest.raises(ValueError, match="bound already"):
        game.bind(game.optimizers["right"], game.left)
    game.left.trainable = False
    with pytest.raises(ValueError, match="no variables to update"):
        game.bind(keras.optimizers.SGD(RATE), game.left)


def test_too_many_logged_values_are_refused():
    def step(game, x):
        for number in range(17):
            game.log({f"value {number}": ops.mean(x)})

    with pytest.raises(ValueError, match="at most 16 logged values, found 'value 16'"):
        play(Game("right", step=step), batches(1, 4), 4)


def test_a_layer_may_assign_the_variable_that_is_being_optimized():
    """Spectral normalization divides its kernel by its norm, before the update."""
    rng = np.random.default_rng(0)
    kernel, x = rng.normal(size=(3, 2)) * 5, batches(1, 4)

    def step(game, x):
        y = game.follow(game.left, x)

        def loss(y):
            return ops.mean(network(y, training=True) ** 2)

        game.log(only=game.minimize(optimizer, loss, y))

    game = Game(step=step)
    dense = layers.Dense(2, use_bias=False)
    network = keras.Sequential(
        [keras.Input((3,)), layers.SpectralNormalization(dense, power_iterations=50)]
    )
    game.network = network
    dense.kernel.assign(kernel)
    optimizer = game.bind(keras.optimizers.SGD(RATE), network)
    y = x @ game.matrices()[0]
    play(game, x, 4)
    normal = kernel / np.linalg.norm(kernel, ord=2)
    # The gradient is that of the assigned kernel: the mean is over 4 x 2 values.
    expected = normal - RATE * 2 / 8 * y.T @ (y @ normal)
    np.testing.assert_allclose(ops.convert_to_numpy(dense.kernel), expected, rtol=1e-4)


class Noisy(AlternatingModel):
    """One update with all kinds of state: noise, moving averages, and that of an optimizer."""

    def __init__(self, seed=0):
        super().__init__("noisy", seed)
        keras.utils.set_random_seed(seed)
        self.network = keras.Sequential(
            [keras.Input((1,)), layers.BatchNormalization(momentum=0.5), layers.Dense(1)]
        )
        self.only = self.bind(keras.optimizers.RMSprop(0.01), self.network)

    def step(self, x):
        loss, noise = self.minimize(self.only, self.loss_of, x)
        self.log(only=loss, noise=noise)

    def loss_of(self, x):
        noise = keras.random.normal(ops.shape(x), seed=self.noise_seed)
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


@pytest.mark.parametrize("moved", ["discriminator", "generator"])
def test_dcgan_updates_move_their_own_network(moved, monkeypatch):
    script = load_script("chapter4-gan/dcgan-mnist-4.2.1.py")
    gan = script.DCGAN(seed=0)
    other = gan.g_optimizer if moved == "discriminator" else gan.d_optimizer
    minimize = gan.minimize

    def only_one(optimizer, loss, *inputs):
        if optimizer is not other:
            return minimize(optimizer, loss, *inputs)
        return (ops.zeros(()), ops.zeros(())) if other is gan.d_optimizer else ops.zeros(())

    monkeypatch.setattr(gan, "minimize", only_one)
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


def test_a_loss_may_contain_a_gradient_and_its_network_may_be_averaged():
    script = load_script("chapter5-improved-gan/wgan-mnist-5.1.2.py")

    class Slope(script.WGAN):
        """A linear critic whose loss is the gradient penalty, and the average of its weights."""

        def __init__(self):
            AlternatingModel.__init__(self, "slope", seed=0)
            flat = [keras.Input((2, 2, 1)), layers.Flatten(), layers.Dense(1, use_bias=False)]
            self.discriminator = keras.Sequential(flat)
            self.discriminator.set_weights([np.full((4, 1), 1.5)])
            self.d_optimizer = self.bind(keras.optimizers.SGD(0.1), self.discriminator)
            self.averaged = self.average(self.discriminator, 0.5)

        def step(self, images):
            self.log(penalty=self.minimize(self.d_optimizer, self.gradient_penalty, images, images))
            self.update_average()

    model = Slope()
    images = np.ones((80, 2, 2, 1), "float32")
    model.fit(x=(images[:2],), batch_size=2, verbose=0)
    # Slope 3: the penalty (3 - 1)^2 has the gradient 2 (3 - 1) w / |w| = 2 in each weight.
    np.testing.assert_allclose(model.discriminator.get_weights()[0], 1.5 - 0.1 * 2, rtol=1e-4)
    # The first average takes 9 / 10 of the new weights.
    np.testing.assert_allclose(model.averaged.get_weights()[0], 1.5 - 0.9 * 0.2, rtol=1e-4)
    model.fit(x=(images,), batch_size=2, verbose=0)
    assert np.linalg.norm(model.discriminator.get_weights()[0]) == pytest.approx(1, abs=1e-3)
    assert np.linalg.norm(model.averaged.get_weights()[0]) == pytest.approx(1, abs=1e-2)
