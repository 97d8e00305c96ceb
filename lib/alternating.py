"""One engine for every adversarial game: several networks, updated in turns, in one compiled step.

A `Turn` names the variables that one player moves, the optimizer that moves them and the loss that
says where to. `AlternatingModel` plays its turns one after the other on each batch, inside the
train step of `keras.Model.fit`, on TensorFlow, JAX and PyTorch. A turn takes gradients with respect
to its own variables only, so that no network needs to be frozen and no flag flipped.

Source: the alternating updates of Goodfellow et al., Generative Adversarial Networks (2014),
algorithm 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
from keras import ops

BACKEND = keras.backend.backend()
if BACKEND == "tensorflow":
    import tensorflow as tf
elif BACKEND == "jax":
    import jax
elif BACKEND == "torch":
    import torch
else:
    raise ImportError(f"KERAS_BACKEND={BACKEND}: expected tensorflow, jax or torch")


@dataclass
class Turn:
    """What one player does with one batch.

    Args:
        name: the name of the loss in the logs.
        variables: the trainable variables that this turn updates, and no others.
        optimizer: moves them. Every turn needs an optimizer of its own.
        loss: called with the arrays of the batch and what the model's `share` returned, if it
            shares anything; returns a scalar, or a tuple of a scalar and one more value for each
            name in `metrics`.
        times: how often the turn is played on one batch. Where any turn is played n > 1 times, the
            batch is cut in n equal parts, and a turn played m times plays on the last m of them:
            five critic updates on five fresh batches are one batch of five times the size.
        metrics: names of the further values that `loss` returns, logged beside it.
        after: called after each update, for instance to clip weights.
        through_shared: whether gradients reach the variables through the shared tensor too.
    """

    name: str
    variables: Sequence
    optimizer: keras.optimizers.Optimizer
    loss: Callable
    times: int = 1
    metrics: tuple[str, ...] = ()
    after: Callable[[], None] | None = None
    through_shared: bool = False


class AlternatingModel(keras.Model):
    """A model whose train step plays a list of turns.

    Subclasses hold the networks (and a `keras.random.SeedGenerator` for what they draw) as
    attributes, write the losses as methods, and hand the turns to `compile`. A batch is a tuple of
    arrays, which `fit` takes as its `x`.
    """

    def compile(self, turns, share=None, **kwargs):
        """Sets the turns, in the order of play.

        Args:
            turns: list of `Turn`.
            share: function of the arrays of the batch. What it returns, a tensor or a tuple of
                them, is computed once for all turns and handed to every loss after the batch: the
                fakes that the discriminator judges, and that the generator is then judged by. Only
                turns with `through_shared` send gradients into it. No variable that it reads may be
                moved before the last turn whose gradients flow through that variable.
            kwargs: go to `keras.Model.compile`.

        Raises:
            ValueError: if two turns share an optimizer or a turn has no variables.
        """
        if len({id(turn.optimizer) for turn in turns}) < len(turns):
            raise ValueError("two turns share one optimizer: give every turn its own")
        for turn in turns:
            if not turn.variables:
                raise ValueError(f"turn '{turn.name}' has no variables to update")
            turn.optimizer.build(turn.variables)
        self.turns = turns
        self.share = share
        self.trackers = {
            turn.name: [keras.metrics.Mean(name) for name in (turn.name, *turn.metrics)]
            for turn in turns
        }
        self.built = True
        super().compile(optimizer=_TurnOptimizers([turn.optimizer for turn in turns]), **kwargs)

    def play(self, batch, scope=None):
        """Plays all turns on one batch and returns the mean losses since the last reset.

        Under JAX `scope` is the `keras.StatelessScope` that holds the values of all variables.
        """
        parts = max(turn.times for turn in self.turns)
        shared_variables = [v for t in self.turns if t.through_shared for v in t.variables]
        for k in range(parts):
            part = [_part(array, k, parts) for array in batch]
            shared, pull_shared = (), None
            if self.share is not None:
                shared, _, pull_shared = _vjp(
                    lambda part=part: (_as_tuple(self.share(*part)), ()),
                    shared_variables,
                    (),
                    scope,
                )
            for turn in self.turns:
                if k >= parts - turn.times:
                    self._play_turn(turn, part, shared, shared_variables, pull_shared, scope)
        self.optimizer.iterations.assign_add(1)
        return {m.name: m.result() for trackers in self.trackers.values() for m in trackers}

    def _play_turn(self, turn, batch, shared, shared_variables, pull_shared, scope):
        def losses(*through):
            tensors = through or [ops.stop_gradient(tensor) for tensor in shared]
            loss, *metrics = _as_tuple(turn.loss(*batch, *tensors))
            return (loss,), (loss, *metrics)

        through = shared if turn.through_shared else ()
        (loss,), values, pull = _vjp(losses, turn.variables, through, scope)
        gradients = pull((ops.ones_like(loss) / _replicas(),))
        size = len(turn.variables)
        gradients, onto_shared = gradients[:size], gradients[size:]
        if turn.through_shared:
            index = {id(v): i for i, v in enumerate(shared_variables)}
            further = pull_shared(onto_shared, [index[id(v)] for v in turn.variables])
            gradients = [_add(a, b) for a, b in zip(gradients, further, strict=True)]
        _apply(turn, gradients)
        if turn.after is not None:
            turn.after()
        for tracker, value in zip(self.trackers[turn.name], values, strict=True):
            tracker.update_state(ops.stop_gradient(value))

    if BACKEND == "jax":

        def train_step(self, state, data):
            groups = (
                self.trainable_variables,
                self.non_trainable_variables,
                self.optimizer.variables,
                self.metrics_variables,
            )
            mapping = [
                pair
                for variables, values in zip(groups, state, strict=True)
                for pair in zip(variables, values, strict=True)
            ]
            with keras.StatelessScope(mapping) as scope:
                logs = self.play(data[0], scope)
            return logs, tuple(
                [scope.get_current_value(v) for v in variables] for variables in groups
            )

    else:

        def train_step(self, data):
            return self.play(data[0])


class _TurnOptimizers(keras.optimizers.Optimizer):
    """The state of all turns' optimizers, which `fit` carries and checkpoints as one optimizer.

    Its own `iterations` counts the train steps.
    """

    def __init__(self, optimizers):
        super().__init__(learning_rate=0.0)
        self.optimizers = optimizers
        self.built = True

    @property
    def variables(self):
        return [self.iterations] + [v for o in self.optimizers for v in o.variables]


def _part(array, k, parts):
    """The k-th of `parts` equal parts of a batch."""
    if parts == 1:
        return array
    size = ops.shape(array)[0] // parts
    return array[k * size : (k + 1) * size]


def _as_tuple(values):
    return values if isinstance(values, tuple) else (values,)


def _add(a, b):
    """The sum of two gradients, of which one may be None: no path leads there."""
    if a is None or b is None:
        return a if b is None else b
    return a + b


# What differs between the backends: `_vjp` runs a function and returns its outputs with the
# pullback that carries gradients with respect to the outputs back to variables and tensors.
#
#     _vjp(function, variables, tensors, scope) -> outputs, aux, pullback
#
# `function(*tensors)` returns (outputs, aux), two tuples; `pullback(gradients, only)`, one gradient
# or None for each output, returns a list with one gradient for each variable, then one for each
# tensor, or for those alone whose indices are in `only`.

if BACKEND == "tensorflow":

    def _vjp(function, variables, tensors, scope):
        inputs = [*(v.value for v in variables), *(tf.stop_gradient(t) for t in tensors)]
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            outputs, aux = function(*inputs[len(variables) :])

        def pullback(gradients, only=None):
            reached = [i for i, gradient in enumerate(gradients) if gradient is not None]
            return tape.gradient(
                [outputs[i] for i in reached],
                inputs if only is None else [inputs[i] for i in only],
                output_gradients=[gradients[i] for i in reached],
            )

        return outputs, aux, pullback

    def _replicas():
        # Optimizers sum the gradients of a distribution strategy's replicas; the mean is wanted.
        return tf.distribute.get_strategy().num_replicas_in_sync

elif BACKEND == "torch":

    def _vjp(function, variables, tensors, scope):
        tensors = [t.detach().requires_grad_() for t in tensors]
        inputs = [*(v.value for v in variables), *tensors]
        outputs, aux = function(*tensors)

        def pullback(gradients, only=None):
            reached = [i for i, gradient in enumerate(gradients) if gradient is not None]
            return list(
                torch.autograd.grad(
                    [outputs[i] for i in reached],
                    inputs if only is None else [inputs[i] for i in only],
                    [gradients[i] for i in reached],
                    retain_graph=True,
                    allow_unused=True,
                )
            )

        return outputs, aux, pullback

else:

    def _vjp(function, variables, tensors, scope):
        own = {id(v) for v in variables}

        def pure(values, tensors):
            inner = keras.StatelessScope(list(zip(variables, values, strict=True)))
            inner.state_mapping = scope.state_mapping | inner.state_mapping
            with inner:
                outputs, aux = function(*tensors)
            # What the pass changed besides (moving averages, seeds) is handed out with it.
            moved = {
                key: value
                for key, value in inner.state_mapping.items()
                if key not in own and value is not scope.state_mapping.get(key)
            }
            return outputs, (aux, moved)

        values = [scope.get_current_value(v) for v in variables]
        outputs, pull, (aux, moved) = jax.vjp(pure, values, list(tensors), has_aux=True)
        scope.state_mapping.update(moved)

        def pullback(gradients, only=None):
            # What is not asked for is not computed either: the compiler drops it.
            everything = [g for group in pull(tuple(gradients)) for g in group]
            return everything if only is None else [everything[i] for i in only]

        return outputs, aux, pullback


if BACKEND == "torch":

    def _apply(turn, gradients):
        with torch.no_grad():
            turn.optimizer.apply(gradients, turn.variables)

else:

    def _apply(turn, gradients):
        turn.optimizer.apply(gradients, turn.variables)


if BACKEND != "tensorflow":

    def _replicas():
        return 1


if BACKEND == "tensorflow":

    def feed(arrays, batch_size):
        """What `fit` takes to run once through `arrays`, a dict of x and, if any, y, in order.

        Keras would hand TensorFlow a data set whose autotuner is waited for at the end: it sleeps
        for 10 ms, 20 ms, 40 ms and so on, so the wait can be as long as the epoch was.
        """
        arrays = tuple(arrays.values())
        full, rest = divmod(len(keras.tree.flatten(arrays)[0]), batch_size)

        def cut(array):
            return array[: full * batch_size].reshape(full, batch_size, *array.shape[1:])

        # An element is a whole batch. A function that cuts batches out would hold on to the arrays
        # until the garbage collector comes by.
        batches = tf.data.Dataset.from_tensor_slices(keras.tree.map_structure(cut, arrays))
        if rest:
            last = keras.tree.map_structure(lambda array: array[-rest:], arrays)
            batches = batches.concatenate(tf.data.Dataset.from_tensors(last))
        options = tf.data.Options()
        options.autotune.enabled = False
        batches = batches.prefetch(2).with_options(options)
        return {"x": batches, "shuffle": False}

else:

    def feed(arrays, batch_size):
        """What `fit` takes to run once through `arrays`, a dict of x and, if any, y, in order."""
        return {**arrays, "batch_size": batch_size, "shuffle": False}


if BACKEND == "tensorflow":
    # Keras writes batch normalization as a dozen passes over its input. For images TensorFlow has a
    # kernel that needs two or three, and half of the time of a ResNet is spent here.
    plain_batch_normalization = keras.layers.BatchNormalization.call

    def _batch_normalization(layer, inputs, training=None, mask=None):
        """`keras.layers.BatchNormalization.call`, with fewer passes where that is possible."""
        fits = (
            len(inputs.shape) == 4
            and layer.axis in (-1, 3)
            and inputs.dtype in (tf.float32, tf.bfloat16)
            and layer.scale
            and layer.center
            and mask is None
            and not (layer.synchronized or layer.renorm)
        )
        if not (training and layer.trainable and fits):
            return plain_batch_normalization(layer, inputs, training=training, mask=mask)
        gamma, beta = tf.convert_to_tensor(layer.gamma), tf.convert_to_tensor(layer.beta)
        outputs, mean, variance = _normalize(inputs, gamma, beta, layer.epsilon)
        for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            moving.assign(moving * layer.momentum + value * (1 - layer.momentum))
        return outputs

    def _normalize(inputs, gamma, beta, epsilon):
        """Normalized images, and the mean and variance of each channel, by TensorFlow's kernel."""
        channels = inputs.shape[-1]
        # The kernel takes 16 channels at once, and is many times slower where some are left over,
        # as in a DenseNet. Zeros fill these up.
        missing = -channels % 16
        if missing:
            inputs = _with_zeros(inputs, missing)
            gamma, beta = tf.pad(gamma, [[0, missing]]), tf.pad(beta, [[0, missing]])
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=gamma,
            offset=beta,
            mean=tf.zeros(0),
            variance=tf.zeros(0),
            epsilon=epsilon,
            is_training=True,
        )
        if missing:
            outputs = _without_last(outputs, missing)
        # The kernel returns the variance of the population that the batch was drawn from; Keras
        # averages that of the batch.
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
        return outputs, mean[:channels], variance[:channels] * (count - 1) / count

    def _with_zeros(images, count):
        """The images with `count` more channels, of zeros; tf.pad takes ten times as long."""
        zeros = tf.zeros(tf.concat([tf.shape(images)[:-1], [count]], 0), images.dtype)
        return tf.concat([images, zeros], -1)

    def _without_last(images, count):
        """The images without their last `count` channels."""

        @tf.custom_gradient
        def cut(images):
            size = [-1, -1, -1, images.shape[-1] - count]
            # TensorFlow's own gradient of this is tf.pad.
            return tf.slice(images, [0, 0, 0, 0], size), lambda upstream: _with_zeros(
                upstream, count
            )

        return cut(images)

    keras.layers.BatchNormalization.call = _batch_normalization
