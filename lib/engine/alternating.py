"""One engine for every adversarial game: several networks, updated in turns, in one compiled step.

A `Turn` has the variables that one player updates, their optimizer and their loss.
`AlternatingModel` plays its turns one after the other on each batch, inside the train step of
`keras.Model.fit`, on TensorFlow, JAX and PyTorch. A turn takes gradients with respect to its own
variables only, so no network needs to be frozen.

Source: the alternating updates of Goodfellow et al., Generative Adversarial Networks (2014),
algorithm 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from lib.engine import backends
from lib.engine.backends import Scope, Tensor


@dataclass
class Turn:
    """One player's update on one batch.

    Args:
        name: the name of the loss in the logs.
        variables: the trainable variables that this turn updates, and no others.
        optimizer: updates them. Only turns that update the same variables may share one.
        loss: called with the arrays of the batch and what the model's `share` returned, if it
            shares anything; returns a scalar, or a tuple of a scalar and one more value for each
            name in `metrics`.
        times: how often the turn is played on one batch. If the largest number is n > 1, the batch
            is cut into n equal parts, and a turn played m times uses the last m of them. Five
            critic updates on fresh images thus take one batch of five times the size.
        metrics: names of the further values that `loss` returns, which are also logged.
        after: called after each update, for instance to clip weights.
        through_shared: whether gradients reach the variables through the shared tensor as well.
    """

    name: str
    variables: Sequence[keras.Variable]
    optimizer: keras.optimizers.Optimizer
    loss: Callable[..., Any]
    times: int = 1
    metrics: tuple[str, ...] = ()
    after: Callable[[], None] | None = None
    through_shared: bool = False


class AlternatingModel(backends.PlayedModel):
    """A model whose train step plays a list of turns.

    Subclasses hold the networks (and a `keras.random.SeedGenerator` for what they draw) as
    attributes, write the losses as methods, and pass the turns to `compile`. A batch is a tuple of
    arrays, which `fit` takes as its `x`.
    """

    def compile(
        self, turns: Sequence[Turn], share: Callable[..., Any] | None = None, **kwargs: Any
    ) -> None:
        """Sets the turns, in the order of play.

        Args:
            turns: list of `Turn`.
            share: function of the arrays of the batch that returns a tensor or a tuple of tensors.
                They are computed once for all turns, and each loss gets them after the batch. A GAN
                shares the fakes, which both losses use. Only turns with `through_shared` send
                gradients into it. No variable that it reads may be updated before the last turn
                whose gradients flow through that variable.
            kwargs: go to `keras.Model.compile`.

        Raises:
            ValueError: if turns with different variables share an optimizer, or a turn has no
                variables.
        """
        for i, turn in enumerate(turns):
            own = [id(v) for v in turn.variables]
            for other in turns[:i]:
                if other.optimizer is turn.optimizer and [id(v) for v in other.variables] != own:
                    raise ValueError("two turns share one optimizer: give every turn its own")
            if not turn.variables:
                raise ValueError(f"turn '{turn.name}' has no variables to update")
            turn.optimizer.build(turn.variables)
        self.turns = turns
        self.parts = max(turn.times for turn in turns)
        self.share = share
        self.trackers = {
            turn.name: [keras.metrics.Mean(name) for name in (turn.name, *turn.metrics)]
            for turn in turns
        }
        self.built = True
        super().compile(optimizer=_TurnOptimizers([turn.optimizer for turn in turns]), **kwargs)

    def play(self, batch: Sequence[Tensor], scope: Scope = None) -> dict[str, Tensor]:
        """Plays all turns on one batch and returns the mean losses since the last reset."""
        parts, share = self.parts, self.share
        shared_variables = [v for t in self.turns if t.through_shared for v in t.variables]
        for k in range(parts):
            part = [_part(array, k, parts) for array in batch]
            shared, pull_shared = (), None
            if share is not None:
                shared, _, pull_shared = backends.vjp(
                    lambda part=part: (_as_tuple(share(*part)), ()),
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
        (loss,), values, pull = backends.vjp(losses, turn.variables, through, scope)
        gradients = pull((ops.ones_like(loss) / backends.replicas(),))
        size = len(turn.variables)
        gradients, onto_shared = gradients[:size], gradients[size:]
        if turn.through_shared:
            index = {id(v): i for i, v in enumerate(shared_variables)}
            further = pull_shared(onto_shared, [index[id(v)] for v in turn.variables])
            gradients = [_add(a, b) for a, b in zip(gradients, further, strict=True)]
        backends.apply(turn.optimizer, gradients, turn.variables)
        if turn.after is not None:
            turn.after()
        for tracker, value in zip(self.trackers[turn.name], values, strict=True):
            tracker.update_state(ops.stop_gradient(value))


class _TurnOptimizers(keras.optimizers.Optimizer):
    """The state of all turns' optimizers, which `fit` carries and checkpoints as one optimizer.

    Its own `iterations` counts the train steps.
    """

    def __init__(self, optimizers):
        super().__init__(learning_rate=0.0)
        self.optimizers = list(dict.fromkeys(optimizers))
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
