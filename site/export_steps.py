"""Writes training steps as ONNX files, with which a browser trains the network of a script.

A step is the script's own `train_step`: its network, its loss and its optimizer. TensorFlow traces
it as a graph that reads and assigns variables. `trace` makes the graph functional: the values of
variables become inputs and outputs, and random numbers become inputs. ONNX then repeats the step in
a `Scan`, so that the weights stay inside of the runtime for many steps.

ONNX has no gradients. Those that a step of Dense layers needs are written out in WRITTEN_OUT.
"""

import logging
import warnings
from dataclasses import dataclass

import numpy as np
import onnx
import tensorflow as tf
from onnx import helper
from tensorflow.python.framework import tensor_util
from tf2onnx import optimizer, tf_loader, tfonnx
from tf2onnx.optimizer.const_fold_optimizer import ConstFoldOptimizer
from tf2onnx.optimizer.identity_optimizer import IdentityOptimizer
from tf2onnx.optimizer.merge_duplicated_nodes_optimizer import MergeDuplicatedNodesOptimizer

OPSET = 18
DRAWS = {"StatelessRandomUniformV2": "uniform", "StatelessRandomNormalV2": "normal"}
ASSIGNMENTS = {
    "AssignVariableOp": lambda old, new: new,
    "AssignAddVariableOp": tf.add,
    "AssignSubVariableOp": tf.subtract,
}
SIMPLIFIED = {
    "constants": ConstFoldOptimizer,
    "duplicates": MergeDuplicatedNodesOptimizer,
    "identities": IdentityOptimizer,
}
NEXT = "_next"  # ends the name of the output with the new value of a variable
STEPS = "steps"  # the first dimension of what each step gets and returns


def _cross_entropy(logits, labels):
    """The losses and their gradient with respect to the logits."""
    log_p = tf.nn.log_softmax(logits)
    taken = tf.one_hot(labels, logits.shape[-1])
    return -tf.reduce_sum(taken * log_p, axis=-1), tf.exp(log_p) - taken


def _sign_bit(x):
    """-2^31 for negative numbers, else 0: Keras looks for the sign of -0 before an ArgMax."""
    return tf.where(x < 0, np.int32(-(2**31)), np.int32(0))


def _replaced_sizes(axes, some_axes, sizes, some_sizes):
    """The sizes of all axes, with others for some: the gradient of a sum has them."""
    places = tf.reshape(some_axes, (-1, 1))
    return tf.tensor_scatter_nd_update(sizes, places, tf.reshape(some_sizes, (-1,)))


# {operation: function of its inputs that returns its outputs}
WRITTEN_OUT = {
    "BiasAddGrad": lambda gradient: tf.reduce_sum(gradient, axis=0),
    "Bitcast": _sign_bit,
    "BitwiseAnd": lambda sign, mask: sign,
    "DynamicStitch": _replaced_sizes,
    "ReluGrad": lambda gradient, y: tf.where(y > 0, gradient, tf.zeros_like(gradient)),
    "SigmoidGrad": lambda y, gradient: gradient * y * (1 - y),
    "SparseSoftmaxCrossEntropyWithLogits": _cross_entropy,
}


@dataclass
class Step:
    """A traced function whose variables are inputs and outputs.

    Attributes:
        graph: TensorFlow graph. The names of its inputs and outputs follow.
        state: variables that keep their values from step to step, those that the function reads.
        assigned: those of them that the function assigns; their new values are outputs with NEXT.
        fed: variables that are set before each call.
        data: arguments of the function.
        draws: {random numbers: "uniform" in [0, 1), or "normal"}.
        results: results of the function.
    """

    graph: tf.Graph
    state: list[str]
    assigned: list[str]
    fed: list[str]
    data: list[str]
    draws: dict[str, str]
    results: list[str]


def spec(name, *shape, integer=False):
    """A batch of float32 numbers, or of int32, of a shape: an argument of a traced function."""
    return tf.TensorSpec((None, *shape), tf.int32 if integer else tf.float32, name=name)


def trace(function, signature, state, fed=None):
    """Traces a function and makes it functional.

    Args:
        function: of one argument; returns a dict of tensors.
        signature: its argument, a `spec` for each tensor, nested.
        state: Keras variables that keep their values; they are named by position.
        fed: {name: Keras variable}. All variables that are neither `state` nor `fed` are zero:
            those of metrics, which then return the result of one batch, and the seeds.

    Returns:
        Step: The graph.
    """
    traced = tf.function(function).get_concrete_function(signature)
    specs, results = tf.nest.flatten(signature), traced.structured_outputs
    named = {f"state_{i}": variable for i, variable in enumerate(state)} | (fed or {})
    names = {id(variable.value.handle): name for name, variable in named.items()}
    step = Step(tf.Graph(), [], [], [*(fed or {})], [spec.name for spec in specs], {}, [*results])
    with step.graph.as_default():
        current, values = {}, {}  # {handle, tensor of the traced graph: tensor here}
        kinds = {id(variable.handle): variable for variable in traced.graph.variables}
        for outside, inside in traced.graph.captures:
            variable, name = kinds[id(outside)], names.get(id(outside))
            current[inside.name] = (
                tf.compat.v1.placeholder(variable.dtype, variable.shape, name)
                if name
                else tf.zeros(variable.shape, variable.dtype)
            )
        first = dict(current)
        inputs = [each for each in traced.inputs if each.name not in current]
        for tensor, name in zip(inputs, step.data, strict=True):
            values[tensor.name] = tf.compat.v1.placeholder(tensor.dtype, tensor.shape, name)
        for op in traced.graph.get_operations():
            _copy(op, current, values, step)
        for name, tensor in results.items():
            tf.identity(values[tensor.name], name)
        for handle, value in first.items():
            name = value.op.name
            if name.startswith("state_"):
                step.state.append(name)
                if current[handle] is not value:
                    tf.identity(current[handle], name + NEXT)
                    step.assigned.append(name)
    for names in (step.state, step.assigned):
        names.sort(key=[*named].index)
    return step


def _copy(op, current, values, step):
    """Copies an operation into the graph of a step, which is the default graph.

    `current` has the value of each variable at this point, by its handle, and `values` all copied
    tensors by their name in the traced graph. Both are updated.
    """
    if op.type in ("Placeholder", "NoOp"):
        return
    name = op.inputs[0].name if op.inputs else ""
    if op.type in ASSIGNMENTS:
        current[name] = ASSIGNMENTS[op.type](current[name], values[op.inputs[1].name])
        return
    if op.type == "ReadVariableOp":
        outputs = current[name]
    elif op.type in DRAWS:
        draw = f"draw_{len(step.draws)}"
        step.draws[draw] = DRAWS[op.type]
        outputs = tf.compat.v1.placeholder(tf.float32, op.outputs[0].shape, draw)
    elif op.type == "BroadcastGradientArgs":
        outputs = _reduced_axes(*map(tensor_util.constant_value_as_shape, op.inputs))
    elif op.type in WRITTEN_OUT:
        outputs = WRITTEN_OUT[op.type](*(values[each.name] for each in op.inputs))
    else:
        kinds = [output.dtype for output in op.outputs]
        inputs = [values[each.name] for each in op.inputs]
        # "_class" asks for the device of another operation, whose name is not the same here.
        attributes = {key: value for key, value in op.node_def.attr.items() if key != "_class"}
        made = step.graph.create_op(op.type, inputs, kinds, attrs=attributes, op_def=op.op_def)
        outputs = made.outputs
    for output, value in zip(op.outputs, tf.nest.flatten(outputs), strict=True):
        values[output.name] = value


def _reduced_axes(*shapes):
    """The axes over which the gradients of two broadcast tensors are summed.

    The traced shapes say which ones: an axis of unknown size is the batch, in both.
    """
    rank = max(len(shape) for shape in shapes)
    a, b = ([1] * (rank - len(shape)) + shape.as_list() for shape in shapes)
    return [
        tf.constant([i for i in range(rank) if mine[i] == 1 != other[i]], tf.int32)
        for mine, other in ((a, b), (b, a))
    ]


def convert(step):
    """Returns the ONNX model of a step, whose inputs and outputs have the names in `step`."""
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    inputs = [*step.state, *step.fed, *step.data, *step.draws]
    outputs = [*(name + NEXT for name in step.assigned), *step.results]
    with warnings.catch_warnings(action="ignore"):
        tensors = [[f"{name}:0" for name in names] for names in (inputs, outputs)]
        with step.graph.as_default():
            definition = tf_loader.tf_optimize(*tensors, step.graph.as_graph_def())
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(definition, name="")
            made = tfonnx.process_tf_graph(
                graph, opset=OPSET, input_names=tensors[0], output_names=tensors[1]
            )
        # The others are for convolutions, and take most of the time.
        made = optimizer.optimize_graph(made, catch_errors=False, optimizers=SIMPLIFIED)
        model = made.make_model("step")
    names = {f"{name}:0": name for name in (*inputs, *outputs)}
    for node in model.graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(each, each) for each in tensors]
    for value in (*model.graph.input, *model.graph.output):
        value.name = names[value.name]
    onnx.checker.check_model(model)  # an operation that was not translated is an error here
    return model


def repeat(step, model):
    """Returns an ONNX model that makes one step after the other.

    What a step feeds, its data, its draws and its results have a further first dimension: the
    number of steps, which is free.
    """
    body = model.graph
    sequences = [*step.fed, *step.data, *step.draws]
    inputs = {value.name: value for value in body.input}
    outputs = {value.name: value for value in body.output}
    given = [name for name in step.state if name not in step.assigned]
    finals = [name + NEXT for name in step.assigned]

    def renamed(value, name, steps=False):
        kind, shape = value.type.tensor_type.elem_type, value.type.tensor_type.shape
        sizes = [dim.dim_param or dim.dim_value for dim in shape.dim]
        return helper.make_tensor_value_info(name, kind, [STEPS, *sizes] if steps else sizes)

    # The scan has its own names for what comes in and goes out: subgraphs hide nothing.
    scan = helper.make_node(
        "Scan",
        [*step.assigned, *sequences],
        [*finals, *step.results],
        num_scan_inputs=len(sequences),
        body=helper.make_graph(
            body.node,
            "step",
            [renamed(inputs[name], name) for name in (*step.assigned, *sequences)],
            [renamed(outputs[name], name) for name in (*finals, *step.results)],
            body.initializer,
        ),
    )
    graph = helper.make_graph(
        [scan],
        "steps",
        [
            *(renamed(inputs[name], name) for name in (*step.assigned, *given)),
            *(renamed(inputs[name], name, steps=True) for name in sequences),
        ],
        [
            *(renamed(outputs[name], name) for name in finals),
            *(renamed(outputs[name], name, steps=True) for name in step.results),
        ],
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
