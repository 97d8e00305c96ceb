"""A training step of several networks, written in the order of its paper.

A subclass of `AlternatingModel` has the networks, gives each optimizer its networks with `bind`,
and writes the updates of one batch in `step`:

    def step(self, images):
        fakes = self.follow(self.generator, self.noise(images))
        d_loss = self.minimize(self.d_optimizer, self.discriminator_loss, images, fakes)
        g_loss = self.minimize(self.g_optimizer, self.generator_loss, fakes)
        self.log(discriminator=d_loss, adversarial=g_loss)

`keras.Model.fit` runs this step, compiled, on TensorFlow, JAX and PyTorch. An update changes the
variables of its own optimizer only, so no network needs to be frozen.

Source: the alternating updates of Goodfellow et al., Generative Adversarial Networks (2014),
algorithm 1.
"""

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import keras
from keras import ops

from lib.engine import backends
from lib.engine.averaging import MovingAverage
from lib.engine.backends import Tensor

MOST_LOGGED = 16  # values; Keras wants their means to exist before the first step


class Followed:
    """The output of a network, with the way back to the network's variables; not a tensor.

    `value` is the tensor without the way back.
    """

    def __init__(
        self, network: keras.Model, output: Tensor, pullback: Callable[..., Any], updates: int
    ) -> None:
        self.value = ops.stop_gradient(output)
        self.network, self.output, self.pullback = network, output, pullback
        self.updates = updates  # of the step, before this output

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(
            f"the output of follow({self.network.name}) is not a tensor, because computing with it "
            "would lose its gradient: pass it to minimize as it is, or use its .value"
        )

    # What TensorFlow, JAX and NumPy (for PyTorch) call to get a tensor, and Python's operators.
    __tf_tensor__ = __jax_array__ = __array__ = __len__ = __iter__ = __getitem__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = _refuse
    __rtruediv__ = __pow__ = __neg__ = __matmul__ = __lt__ = __gt__ = __le__ = __ge__ = _refuse

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse()


class AlternatingModel(backends.StepModel):
    """A model whose training step makes several updates.

    A batch is a tuple of arrays, which `fit` takes as its `x`, and which `step` gets as arguments.
    `seed` is that of the random numbers in a step, None if it draws none.
    """

    parts = 1  # into how many parts `step` splits a batch; several devices need to know

    def __init__(self, name: str, seed: int | None = None) -> None:
        super().__init__(name=name)
        if seed is not None:
            self.noise_seed = keras.random.SeedGenerator(seed)
        self.averages: list[MovingAverage] = []
        self.means = [keras.metrics.Mean(f"logged{i}") for i in range(MOST_LOGGED)]
        self.trace = _Trace()
        self.built = True
        self.compile(optimizer=_Optimizers())

    def step(self, *batch: Tensor) -> None:
        """The updates of one batch."""
        raise NotImplementedError

    def bind(
        self, optimizer: keras.optimizers.Optimizer, *networks: keras.Model
    ) -> keras.optimizers.Optimizer:
        """Gives an optimizer the trainable variables of networks, and returns it.

        The order of the calls is the order of the optimizers in a checkpoint. Raises a ValueError
        if the optimizer has variables already, or the networks have none.
        """
        variables = [v for network in networks for v in network.trainable_variables]
        if optimizer.built:
            raise ValueError("this optimizer is bound already: give each update its own")
        if not variables:
            raise ValueError("no variables to update: the networks are frozen, or have no weights")
        optimizer.build(variables)
        self.optimizer.bound.append(optimizer)
        self.trace.variables[id(optimizer)] = variables
        return optimizer

    def average(self, network: keras.Model, decay: float) -> keras.Model:
        """The network to draw with: the moving average of `network`, itself for a decay of 0."""
        if not decay:
            return network
        self.averages.append(MovingAverage(network, decay))
        return self.averages[-1].network

    def update_average(self) -> None:
        """Moves the averages toward their networks."""
        for average in self.averages:
            average.update()

    def uniform(self, shape: Sequence[Any], low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform random numbers, one row for each example; the same on one device and several."""
        return backends.draw(keras.random.uniform, shape, low, high, seed=self.noise_seed)

    def follow(self, network: keras.Model, inputs: Any) -> Followed:
        """Runs a network in training and remembers the way back to its variables.

        No gradient passes into the inputs. Do not update the network before the last `minimize`
        whose gradient flows into it: that is an error.
        """
        output, _, pullback = backends.vjp(
            self, lambda: (network(inputs, training=True), None), network.trainable_variables
        )
        return Followed(network, output, pullback, self.trace.updates)

    def minimize(
        self, optimizer: keras.optimizers.Optimizer, loss: Callable[..., Any], *inputs: Any
    ) -> Any:
        """Makes one update of the variables of an optimizer from `bind`; returns the loss's output.

        The gradient is that of the loss with respect to these variables, directly and through those
        followed inputs that come from them. All other inputs are constants. Raises a ValueError if
        the loss does not depend on the variables, or a followed network was updated after its
        output was computed.

        Args:
            optimizer: the optimizer.
            loss: function of the inputs that returns a scalar, or a tuple that begins with it.
            inputs: tensors, networks, and what `follow` returned.
        """
        trace = self.trace
        if id(optimizer) not in trace.variables:
            raise ValueError("this optimizer has no variables: bind it to networks first")
        variables = trace.variables[id(optimizer)]
        place = {id(v): i for i, v in enumerate(variables)}
        through = [x for x in inputs if isinstance(x, Followed) and _own(x.network, place)]
        for x in through:
            if any(trace.updated.get(id(v), 0) > x.updates for v in x.network.trainable_variables):
                raise ValueError(
                    f"{x.network.name} was updated after follow({x.network.name}), whose output is "
                    "stale now: follow it again before this minimize"
                )

        def differentiated(*tensors):
            given = iter(tensors)
            values = [
                x if not isinstance(x, Followed) else next(given) if x in through else x.value
                for x in inputs
            ]
            returned = loss(*values)
            return returned[0] if isinstance(returned, tuple) else returned, returned

        total, returned, pullback = backends.vjp(
            self, differentiated, variables, [x.output for x in through]
        )
        one = ops.ones_like(total) / backends.replicas()
        gradients = pullback(one, range(len(variables) + len(through)))
        gradients, onto = gradients[: len(variables)], gradients[len(variables) :]
        for x, gradient in zip(through, onto, strict=True):
            if gradient is None:  # TensorFlow would take it for ones
                continue
            own = _own(x.network, place)
            for k, more in zip(own.values(), x.pullback(gradient, list(own)), strict=True):
                gradients[k] = _add(gradients[k], more)
        if all(gradient is None for gradient in gradients):
            raise ValueError(
                f"minimize({getattr(loss, '__name__', 'loss')}): the loss does not depend on the "
                "variables of its optimizer; pass it the output of follow, not its .value"
            )
        backends.apply(optimizer, gradients, variables)
        trace.updates += 1
        trace.updated |= dict.fromkeys(place, trace.updates)
        returned = keras.tree.map_structure(ops.stop_gradient, returned)
        total = returned[0] if isinstance(returned, tuple) else returned
        trace.optimizers[id(total)] = total, optimizer
        return returned

    def log(self, values: dict[str, Tensor] | None = None, /, **named: Tensor) -> None:
        """Adds scalars to their means since the last interval, which the log of the run shows.

        `values` is {name: scalar}, for names with spaces. The learning rate of an optimizer is
        logged under the name of its loss.
        """
        for name, value in {**(values or {}), **named}.items():
            means = self.trace.means
            if name not in means:
                if len(means) == MOST_LOGGED:
                    raise ValueError(
                        f"expected at most {MOST_LOGGED} logged values, found '{name}'"
                    )
                means[name] = self.means[len(means)]
            means[name].update_state(value)
            if id(value) in self.trace.optimizers:
                self.trace.rates[name] = self.trace.optimizers[id(value)][1]

    def play(self, batch: Sequence[Tensor]) -> None:
        """Runs `step` on one batch."""
        self.trace.begin()
        self.step(*batch)
        self.optimizer.iterations.assign_add(1)

    def run_step(self, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        """Runs `step` on one batch and returns the means of what it has logged."""
        self.play(batch)
        if not self.trace.means:
            raise ValueError("step logged nothing: log at least one loss")
        return {name: mean.result() for name, mean in self.trace.means.items()}

    def learning_rates(self) -> dict[str, Any]:
        """{name of a loss in the log: learning rate now}, after the first step."""
        return {name: optimizer.learning_rate for name, optimizer in self.trace.rates.items()}


class _Trace:
    """What is known of a step while it is traced; Keras does not track this object."""

    def __init__(self):
        self.variables: dict[int, list[keras.Variable]] = {}  # of the optimizer with this id
        self.means: dict[str, keras.metrics.Mean] = {}
        self.rates: dict[str, keras.optimizers.Optimizer] = {}
        self.begin()

    def begin(self):
        self.updates = 0  # made in this step
        self.updated: dict[int, int] = {}  # the last update of the variable with this id
        self.optimizers: dict[int, tuple[Tensor, keras.optimizers.Optimizer]] = {}  # of this loss


class _Optimizers(keras.optimizers.Optimizer):
    """The state of all bound optimizers, which `fit` carries and checkpoints as one optimizer.

    Its own `iterations` counts the training steps.
    """

    def __init__(self):
        super().__init__(learning_rate=0.0)
        self.bound: list[keras.optimizers.Optimizer] = []
        self.built = True

    @property
    def variables(self):
        return [self.iterations] + [v for o in self.bound for v in o.variables]


def _own(network, place):
    """{index of a variable in a network: its index in `place`} of those that are in both."""
    found = enumerate(network.trainable_variables)
    return {i: place[id(v)] for i, v in found if id(v) in place}


def _add(a, b):
    """The sum of two gradients, of which one may be None: no path leads there."""
    if a is None or b is None:
        return a if b is None else b
    return a + b
