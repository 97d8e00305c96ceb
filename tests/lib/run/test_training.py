"""Checkpoints and interruption; test_backends.py also runs part of this file on other backends."""

import itertools
import os
import signal
import sys
from types import SimpleNamespace

import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import ROOT, read_csv, run_script
from keras import layers
from test_step import Noisy

from lib.engine import devices
from lib.files.errors import Stopped, UserError, need_package
from lib.run import checkpoints, logs, program, progress, training

# A run that kills itself with SIGKILL in step 8, two steps after the checkpoint at step 6.
KILLED = f"""
import os, signal, sys
tests = {str(ROOT / "tests")!r}
sys.path[:0] = [{str(ROOT)!r}, tests, f"{{tests}}/lib/run", f"{{tests}}/lib/engine"]
from test_training import MODELS, state
from pathlib import Path
from lib.run import program, training
import numpy as np

build, make_batch = MODELS[sys.argv[1]]

def batch(step):
    if step == 8 and "--resume" not in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)
    return make_batch(step)

model = build()
here = Path()
run = program.Run(here / "script.py", here, here, resume="--resume" in sys.argv)
training.train(model, batch, run, steps=12, interval=3)
np.savez("state.npz", *state(model))
"""


def build():
    """A classifier with all kinds of state: dropout, batch normalization, RMSprop."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(8, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.5, seed=1),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile(optimizer=keras.optimizers.RMSprop(0.01), loss="sparse_categorical_crossentropy")
    return model


def make_batch(step):
    rng = np.random.default_rng((0, step))
    return {"x": rng.normal(size=(8, 4)).astype("float32"), "y": rng.integers(0, 2, 8)}


def make_game_batch(step):
    return {"x": (make_batch(step)["x"][:, :1],)}


MODELS = {"classifier": (build, make_batch), "game": (Noisy, make_game_batch)}


def state(model):
    return [
        keras.ops.convert_to_numpy(v) for v in [*model.get_weights(), *model.optimizer.variables]
    ]


def train(
    model,
    folder,
    steps=12,
    batch=make_batch,
    settings=None,
    after=None,
    memory=None,
    save=None,
    keep=False,
    interval=3,
    **options,
):
    folder.mkdir(exist_ok=True)
    return training.train(
        model,
        batch,
        program.Run(folder / "script.py", folder, folder, settings=settings or {}, **options),
        steps=steps,
        interval=interval,
        after_interval=after,
        memory=memory,
        save=save,
        keep=keep,
    )


def log_rows(folder):
    return read_csv(folder / "log.csv")


def assert_equal_states(model, other):
    for a, b in zip(state(model), state(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def interrupt_at(stop_step, of=make_batch):
    def batch(step):
        if step == stop_step:
            os.kill(os.getpid(), signal.SIGINT)
        return of(step)

    return batch


@pytest.mark.parametrize("name", MODELS)
def test_a_run_killed_between_checkpoints_ends_as_an_uninterrupted_one(name, tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)

    def run(*flags):
        # Only TensorFlow is known to work in a fork.
        fresh = keras.backend.backend() != "tensorflow"
        done = run_script(script, name, *flags, folder=tmp_path, data=tmp_path, fresh=fresh)
        return done.returncode

    assert run() == -signal.SIGKILL
    header = np.load(tmp_path / "restart.npz")["header"]
    assert '"step": 6' in str(header)
    assert run("--resume") == 0
    build_model, batch = MODELS[name]
    whole = build_model()
    train(whole, tmp_path, batch=batch)
    assert int(whole.optimizer.iterations.value) == 12
    with np.load(tmp_path / "state.npz") as file:
        for name, expected in zip(file.files, state(whole), strict=True):
            np.testing.assert_allclose(file[name], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_ctrl_c_stops_within_one_step_saves_and_says_how_to_continue(name, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "STRETCH_BYTES", 1)
    monkeypatch.setattr(sys, "argv", ["script.py", "--seed", "0"])
    build_model, batch = MODELS[name]
    model = build_model()
    with pytest.raises(Stopped, match=r"after step 5 of 12.*\n.*script\.py --seed 0 --resume"):
        train(model, tmp_path, batch=interrupt_at(4, batch))
    resumed, whole = build_model(), build_model()
    train(resumed, tmp_path, batch=batch, resume=True)
    train(whole, tmp_path, batch=batch)
    assert_equal_states(resumed, whole)


def test_signal_handlers_are_restored(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    train(build(), tmp_path, steps=3)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_checkpoint_is_removed_when_all_steps_are_done(tmp_path):
    seen = []
    train(
        build(),
        tmp_path,
        steps=7,
        after=lambda step, logs: seen.append((step, (tmp_path / "restart.npz").exists())),
    )
    assert seen == [(3, False), (6, True), (7, True)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.csv", "log.png"]


def test_a_run_whose_weights_could_not_be_saved_is_not_lost(tmp_path):
    def fail():
        raise UserError("disk full")

    def interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        saved.append("through Ctrl-C")

    whole, resumed, saved = build(), build(), []
    with pytest.raises(UserError, match="disk full"):
        train(whole, tmp_path, save=fail)
    _, logs = train(
        resumed,
        tmp_path,
        batch=lambda step: pytest.fail("nothing is left to be trained"),
        resume=True,
        save=interrupt,
    )
    assert saved == ["through Ctrl-C"]
    assert logs["loss"] > 0
    assert_equal_states(resumed, whole)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.csv", "log.png"]


def test_weights_are_not_saved_before_the_last_step(tmp_path):
    with pytest.raises(Stopped):
        train(build(), tmp_path, batch=interrupt_at(1), save=lambda: pytest.fail("too early"))


def test_logs_are_means_over_the_interval_also_in_stretches(tmp_path, monkeypatch):
    logs = {}
    for bytes_held in (2**20, 1):
        monkeypatch.setattr(training, "STRETCH_BYTES", bytes_held)
        seen = logs.setdefault(bytes_held, [])
        train(build(), tmp_path, steps=6, after=lambda step, logs, seen=seen: seen.append(logs))
    for whole, pieces in zip(*logs.values(), strict=True):
        assert whole["loss"] == pytest.approx(pieces["loss"], rel=1e-5)


def test_what_after_interval_keeps_outlives_an_interruption(tmp_path):
    def keep(memory):
        return lambda step, logs: memory.update(seen=[*memory.get("seen", []), step])

    memory = {}
    with pytest.raises(Stopped):
        train(build(), tmp_path, batch=interrupt_at(7), after=keep(memory), memory=memory)
    continued = {}
    train(build(), tmp_path, resume=True, after=keep(continued), memory=continued)
    assert continued == {"seen": [3, 6, 9, 12]}


def test_train_epochs_trains_on_all_inputs_and_tells_the_run(tmp_path):
    keras.utils.set_random_seed(0)
    left, right = keras.Input((2,)), keras.Input((2,))
    model = keras.Model([left, right], layers.Dense(1)(layers.concatenate([left, right])))
    model.compile(optimizer="sgd", loss="mse")
    model.optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(0)
    x, y = tuple(rng.normal(size=(2, 10, 2)).astype("float32")), np.ones((10, 1), "float32")
    run = program.Run(tmp_path / "script.py", tmp_path, tmp_path, budget=3, batch_size=4)
    before = training.evaluate(model, x, y)["loss"]
    epochs = []
    facts = training.train_epochs(
        model, x, y, run, after_epoch=lambda epoch, logs: epochs.append(epoch)
    )
    assert epochs == [1, 2, 3]
    assert (facts["epochs"], facts["batch_size"], facts["train_images"]) == (3, 4, 10)
    assert int(model.optimizer.iterations.value) == 3 * training.steps_per_epoch(x, 4) == 9
    assert training.evaluate(model, x, y)["loss"] < before
    assert training.evaluate(model, x, y)["loss"] == pytest.approx(
        float(np.mean((model.predict(list(x), verbose=0) - y) ** 2)), rel=1e-5
    )


def test_a_run_is_saved_by_time_within_an_interval(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SECONDS_UNSAVED", -1)
    monkeypatch.setattr(training, "SAVING_SHARE", 1e9)
    monkeypatch.setattr(training._Progress, "steps_in", lambda self, seconds: 2)
    saved, save = [], checkpoints.save_restart

    def save_restart(path, model, settings, progress):
        save(path, model, settings, progress)
        saved.append(progress["step"])

    monkeypatch.setattr(training, "save_restart", save_restart)

    def batch(step):
        if step == 9 and not resumed:
            raise RuntimeError("power cut")
        return make_batch(step)

    resumed = False
    with pytest.raises(RuntimeError, match="power cut"):
        train(build(), tmp_path, batch=batch, interval=12)
    assert saved == [0, 2, 4, 6, 8]
    resumed, model, whole = True, build(), build()
    _, logs = train(model, tmp_path, batch=batch, interval=12, resume=True)
    assert saved[5:] == [8, 10, 12]
    train(whole, tmp_path / "whole", steps=12)
    assert_equal_states(model, whole)
    losses = [float(row["loss"]) for row in log_rows(tmp_path / "whole")]
    assert logs["loss"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_a_failed_save_leaves_the_former_checkpoint(tmp_path, monkeypatch):
    with pytest.raises(Stopped):
        train(build(), tmp_path, batch=interrupt_at(1))
    before = (tmp_path / "restart.npz").read_bytes()

    def fail(file, **arrays):
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(UserError, match="disk full"):
        train(build(), tmp_path, resume=True)
    assert (tmp_path / "restart.npz").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.csv", "restart.npz"]


def test_the_log_of_a_continuation_has_each_interval_once(tmp_path):
    def after(step, logs):
        return {"score": step / 10} if step == 6 else None

    with pytest.raises(Stopped):
        train(build(), tmp_path, batch=interrupt_at(7), after=after)
    # As if the run had been killed after it wrote a row and before it wrote the checkpoint.
    with (tmp_path / "log.csv").open("a") as file:
        file.write("9,0.5,0.7,\n")
    train(build(), tmp_path, resume=True, after=after)
    rows = log_rows(tmp_path)
    assert [row["step"] for row in rows] == ["3", "6", "9", "12"]
    assert [row["score"] for row in rows] == ["", "0.6", "", ""]
    assert all(float(row["loss"]) > 0 for row in rows)


def test_the_log_has_seconds_and_the_learning_rate_of_each_optimizer(tmp_path):
    model = build()
    steps = keras.optimizers.schedules.PiecewiseConstantDecay([6], [0.01, 0.001])
    model.compile(keras.optimizers.RMSprop(steps), loss="sparse_categorical_crossentropy")
    train(model, tmp_path)
    rows = log_rows(tmp_path)
    assert [float(row["learning_rate"]) for row in rows] == [0.01, 0.01, 0.001, 0.001]
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)
    game = Noisy()
    train(game, tmp_path / "game", batch=make_game_batch)
    (first, *_) = log_rows(tmp_path / "game")
    rate = keras.ops.convert_to_numpy(game.only.learning_rate)
    assert float(first["learning_rate_only"]) == pytest.approx(float(rate), rel=1e-5)


def test_the_curves_show_losses_measures_and_learning_rate(tmp_path, monkeypatch):
    drawn = []
    finish = logs.plots.finish

    def keep(figure, path):
        for axis in figure.axes:
            drawn.append((axis.get_title(), [list(line.get_ydata()) for line in axis.lines]))
        finish(figure, path)

    monkeypatch.setattr(logs.plots, "finish", keep)
    train(build(), tmp_path, after=lambda step, logs: {"score": step / 10} if step > 3 else None)
    assert [title for title, _ in drawn] == ["loss", "score", "learning rate"]
    losses = [float(row["loss"]) for row in log_rows(tmp_path)]
    np.testing.assert_allclose(drawn[0][1], [losses], rtol=1e-5)
    np.testing.assert_allclose(drawn[1][1], [[0.6, 0.9, 1.2]])
    np.testing.assert_allclose(drawn[2][1], [[0.01] * 4], rtol=1e-5)
    assert plt.imread(tmp_path / "log.png").std() > 0


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="not in Keras with PyTorch")
@pytest.mark.parametrize("several", [2, 4])
@pytest.mark.parametrize("kind", MODELS)
def test_several_steps_in_one_execution_change_nothing(kind, several, tmp_path):
    build, make_batch = MODELS[kind]
    one, many, cut = build(), build(), build()
    train(one, tmp_path / "one", batch=make_batch)
    train(many, tmp_path / "many", batch=make_batch, steps_per_execution=several)
    assert_equal_states(one, many)
    assert many.steps_per_execution == several
    with pytest.raises(Stopped):
        train(
            build(),
            tmp_path / "cut",
            batch=interrupt_at(4, make_batch),
            steps_per_execution=several,
        )
    # The continuation may use another number.
    train(cut, tmp_path / "cut", batch=make_batch, resume=True, steps_per_execution=3)
    assert_equal_states(one, cut)
    for name in ("many", "cut"):
        for row, expected in zip(
            log_rows(tmp_path / name), log_rows(tmp_path / "one"), strict=True
        ):
            for column in set(row) - {"seconds"}:
                assert float(row[column]) == pytest.approx(float(expected[column]), rel=1e-4)


def test_several_steps_in_one_execution_are_refused_with_pytorch(monkeypatch):
    monkeypatch.setattr(devices, "BACKEND", "torch")
    assert devices.steps_per_execution() == 1
    with pytest.raises(UserError, match="--steps-per-execution 4: expected 1"):
        devices.steps_per_execution(4)


def test_tensorboard_gets_losses_and_figures(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    def draw(step, logs):
        plt.imsave(tmp_path / f"{step:05d}.png", np.random.default_rng(step).random((8, 8, 3)))

    train(build(), tmp_path, after=draw, tensorboard=True)
    (path,) = (tmp_path / "tensorboard").iterdir()
    data, values = path.read_bytes(), []
    while data:
        # A record is its length (8 bytes), a checksum (4), the event, and a checksum (4).
        length = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + length])
        values += [(event.step, value) for value in event.summary.value]
        data = data[16 + length :]
    losses = [(step, value.simple_value) for step, value in values if value.tag == "loss"]
    expected = [(int(row["step"]), float(row["loss"])) for row in log_rows(tmp_path)]
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    images = [(step, value.image.height) for step, value in values if value.tag == "samples"]
    assert images == [(3, 8), (6, 8), (9, 8), (12, 8)]


def test_tensorboard_without_its_package_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(UserError, match="package tensorboardX, found none"):
        need_package("tensorboardX", "--tensorboard", "requirements-x.txt")


def test_a_kept_checkpoint_continues_a_finished_run(tmp_path):
    whole, longer = build(), build()
    train(whole, tmp_path / "whole", steps=12)
    train(build(), tmp_path / "short", steps=6, keep=True)
    train(longer, tmp_path / "short", steps=12, resume=True)
    assert_equal_states(longer, whole)


def test_resume_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(UserError, match="nothing to resume"):
        train(build(), tmp_path, resume=True)


def test_resume_with_other_settings_is_refused(tmp_path):
    with pytest.raises(Stopped):
        train(build(), tmp_path, batch=interrupt_at(1), settings={"seed": 1})
    with pytest.raises(UserError, match="seed 1, this one has 2"):
        train(build(), tmp_path, resume=True, settings={"seed": 2})


def test_resume_of_a_broken_file_is_refused(tmp_path):
    (tmp_path / "restart.npz").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(UserError, match="not a usable checkpoint"):
        train(build(), tmp_path, resume=True)


@pytest.mark.parametrize("content", [b"step;loss\n3;0.5\n", b"step,loss\nx,1\n", b"step\n\xff\n"])
def test_resume_with_a_broken_log_is_refused(tmp_path, content):
    with pytest.raises(Stopped):
        train(build(), tmp_path, batch=interrupt_at(7))
    (tmp_path / "log.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read '.*log\.csv'.*remove it"):
        train(build(), tmp_path, resume=True)


def test_resume_of_another_network_is_refused(tmp_path):
    with pytest.raises(Stopped):
        train(build(), tmp_path, batch=interrupt_at(1))
    other = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    other.compile(optimizer="sgd", loss="mse")
    other.optimizer.build(other.trainable_variables)
    with pytest.raises(UserError, match="another network"):
        train(other, tmp_path, resume=True)


def test_shuffled_epochs_visit_every_example_once_in_a_new_order():
    x, y = np.arange(10), np.arange(10) * 2
    batch, steps = training.shuffled_epochs(x, y, batch_size=4, seed=0)
    assert steps == 3
    epochs = [np.concatenate([batch(3 * e + s)["x"] for s in range(3)]) for e in range(2)]
    assert [len(batch(s)["x"]) for s in range(3)] == [4, 4, 2]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert list(epochs[0]) != list(epochs[1])
    assert all((batch(s)["y"] == 2 * batch(s)["x"]).all() for s in range(6))


def test_augmentation_differs_between_batches_and_repeats_with_the_step():
    x = np.arange(8)
    batch, _ = training.shuffled_epochs(x, x, 4, 0, lambda x, y, rng: (x, y + rng.random()))
    added = [batch(step)["y"] - batch(step)["x"] for step in range(4)]
    assert len({float(a[0]) for a in added}) == 4
    # Each batch has one number, and a second call for the same step draws the same one.
    assert all(np.ptp(a) < 1e-9 for a in added)
    for step in range(4):
        np.testing.assert_array_equal(batch(step)["y"] - batch(step)["x"], added[step])


def trained_in_stretches(build, folder, monkeypatch, steps_at_once):
    """The state after two epochs of 20 examples in batches of 8, of which the last is short."""
    monkeypatch.setattr(training._Progress, "steps_in", lambda self, seconds: steps_at_once)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 4)).astype("float32"), rng.integers(0, 2, 20)
    model = build()
    run = program.Run(folder / "script.py", folder, folder, budget=2, batch_size=8)
    training.train_epochs(model, x, y, run)
    return state(model)


def test_a_result_does_not_depend_on_the_length_of_a_stretch(tmp_path, monkeypatch):
    whole = trained_in_stretches(build, tmp_path, monkeypatch, 1000)
    for steps_at_once in (1, 2, 7):
        cut = trained_in_stretches(build, tmp_path, monkeypatch, steps_at_once)
        for a, b in zip(whole, cut, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", MODELS)
def test_a_result_does_not_depend_on_the_clock(name, tmp_path, monkeypatch):
    make, make_batches = MODELS[name]
    states = []
    # The clock stands still, or is faster than the run.
    for seconds in (0.0, 0.001, 7.0, 1000.0):
        now = itertools.count(0, seconds) if seconds else itertools.repeat(0.0)
        with monkeypatch.context() as patched:
            clock = SimpleNamespace(monotonic=lambda now=now: next(now))
            patched.setattr(training, "time", clock)
            patched.setattr(progress, "time", clock)
            model = make()
            train(model, tmp_path, steps=9, batch=make_batches)
        states.append(state(model))
    for other in states[1:]:
        for a, b in zip(states[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
