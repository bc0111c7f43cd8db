"""Activations as exporters spell them out, recognised: SiLU, hard swish, Mish, and clips of one side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import ModelError
from mpi_vta.frontend.onnx_net import Fate, OnnxNet, OnnxNode
from mpi_vta.frontend.onnx_operators import row

SIXTH = 1 / 6
CLOSE = 1e-4


def recognize_activations(net: OnnxNet) -> OnnxNet:
    """Return the net with one node for each activation: Silu, HardSwish, HardSigmoid, Mish, Clip, LeakyRelu.

    A node that was only a part of one becomes dead, unless something else reads it.

    Raises
    ------
    ModelError
        For a use of one of them that has no counterpart.
    """
    made: dict[str, OnnxNode] = {}
    nodes: list[OnnxNode] = []
    shapes, constants = dict(net.shapes), dict(net.initializers)
    fates: dict[str, Fate] = {}
    finder = _Finder(net, made)
    for node in net.nodes:
        found = finder.find(node)
        for part in finder.parts if found is not node else ():
            fates[part] = Fate(found.name, f"part of {found.op}")
        made[node.output] = found
        if found.op == "HardSigmoid" and not is_plain(found):
            nodes += _spelled_out(found, shapes, constants)
        else:
            nodes.append(found)
    alive = _alive(nodes, net.outputs)
    kept = tuple(node for node in nodes if node.output in alive)
    result = replace(net, nodes=kept, shapes=shapes, initializers=constants)
    gone = {node.name for node in nodes if node.output not in alive}
    return result.noting({name: fate for name, fate in fates.items() if name in gone})


def refuse_parts(net: OnnxNet) -> OnnxNet:
    """Return the net unchanged; raise `ModelError` for what neither an activation nor the host has taken."""
    for node in net.nodes:
        if row(node).part:
            allowed = row(node).part
            raise ModelError("has no counterpart between layers", where=net.where(node), allowed=allowed)
        if node.op == "Selu" and node.attrs:
            raise ModelError("alpha or gamma of its own", where=net.where(node), allowed="those of the paper")
        if node.op == "Mul" and not any(name in net.initializers for name in node.inputs):
            raise ModelError(
                "product of two computed tensors, which VTA cannot form",
                where=net.where(node),
                allowed="an activation such as x * sigmoid(x), products with a constant, any at the end of the model",
                remedy="train without such gates (squeeze and excitation, attention), or end the model before it",
            )
    return net


def is_plain(hard_sigmoid: OnnxNode) -> bool:
    """Tell whether a HardSigmoid is ``clip(x / 6 + 1 / 2, 0, 1)``."""
    alpha, beta = hard_sigmoid.attrs.get("alpha", 0.2), hard_sigmoid.attrs.get("beta", 0.5)
    return bool(np.isclose(alpha, SIXTH, rtol=CLOSE) and np.isclose(beta, 0.5))


def _spelled_out(
    node: OnnxNode, shapes: dict[str, tuple[int, ...]], constants: dict[str, NDArray[Any]]
) -> list[OnnxNode]:
    """Return a HardSigmoid of another slope as a product, a sum and a Clip."""
    sloped, moved = f"{node.output} sloped", f"{node.output} moved"
    for name, key, default in ((sloped, "alpha", 0.2), (moved, "beta", 0.5)):
        constants[f"{name} by"] = np.full(1, node.attrs.get(key, default), np.float32)
        shapes[name] = shapes.get(node.output, ())
    return [
        OnnxNode(f"{node.name}.alpha", "Mul", (node.inputs[0], f"{sloped} by"), sloped),
        OnnxNode(f"{node.name}.beta", "Add", (sloped, f"{moved} by"), moved),
        OnnxNode(node.name, "Clip", (moved,), node.output, {"min": 0.0, "max": 1.0}),
    ]


def _alive(nodes: list[OnnxNode], outputs: tuple[str, ...]) -> set[str]:
    wanted = set(outputs)
    for node in reversed(nodes):
        if node.output in wanted:
            wanted.update(node.inputs)
    return wanted


class _Finder:
    """Looks from the last node of an activation back to its operand."""

    def __init__(self, net: OnnxNet, made: dict[str, OnnxNode]) -> None:
        self._net, self._made = net, made
        self.parts: list[str] = []

    def find(self, node: OnnxNode) -> OnnxNode:
        """Return the activation that ends with `node`, or `node`; `parts` names the nodes before it."""
        self.parts = []
        if node.op in ("Mul", "Div"):
            return self._product(node)
        if node.op in ("Min", "Max") and len(node.inputs) == 2:
            return self._one_sided(node)
        if node.op == "PRelu":
            return self._prelu(node)
        if node.op == "Where":
            return self._bent(node)
        if node.op == "Swish":
            alpha = float(node.attrs.get("alpha", 1.0))
            if alpha != 1:
                raise ModelError(f"alpha {alpha}", where=self._net.where(node), allowed="1")
            return OnnxNode(node.name, "Silu", node.inputs[:1], node.output)
        return node

    def _product(self, node: OnnxNode) -> OnnxNode:
        for gate, factor in self._scaled(node):
            before = self._relu6_of_x_plus_3(gate)
            if before is not None and np.isclose(factor, SIXTH, rtol=CLOSE):
                attrs = {"alpha": SIXTH, "beta": 0.5}
                return OnnxNode(node.name, "HardSigmoid", (before,), node.output, attrs)
            swish = self._x_times_relu6(gate)
            if swish is not None and np.isclose(factor, SIXTH, rtol=CLOSE):
                return OnnxNode(node.name, "HardSwish", (swish,), node.output)
        if node.op == "Mul":
            for x, gate in (node.inputs, node.inputs[::-1]):
                kind = self._gate(x, gate)
                if kind:
                    return OnnxNode(node.name, kind, (x,), node.output)
        return node

    def _gate(self, x: str, gate: str) -> str:
        """Return the activation that is x times `gate`; empty when there is none."""
        maker = self._made.get(gate)
        if maker is None:
            return ""
        if maker.op == "Sigmoid" and maker.inputs[0] == x:
            self.parts = [maker.name]
            return "Silu"
        if maker.op == "HardSigmoid" and maker.inputs[0] == x and is_plain(maker):
            self.parts = [maker.name]
            return "HardSwish"
        inner = self._made.get(maker.inputs[0]) if maker.op == "Tanh" else None
        if inner is not None and inner.op == "Softplus" and inner.inputs[0] == x:
            self.parts = [maker.name, inner.name]
            return "Mish"
        return ""

    def _scaled(self, node: OnnxNode) -> Iterator[tuple[str, float]]:
        """Yield the computed operand and the factor of a product with one number."""
        constants = self._net.initializers
        orders = ((0, 1),) if node.op == "Div" else ((0, 1), (1, 0))
        for computed, number in orders:
            value = constants.get(node.inputs[number])
            if value is not None and value.size == 1 and node.inputs[computed] not in constants:
                factor = float(value.reshape(-1)[0])
                yield node.inputs[computed], (1 / factor if factor else np.inf) if node.op == "Div" else factor

    def _relu6_of_x_plus_3(self, name: str) -> str | None:
        """Return x of ``clip(x + 3, 0, 6)``."""
        node, low, high = self._made.get(name), -np.inf, np.inf
        parts: list[str] = []
        while node is not None and node.op in ("Clip", "Relu"):  # one bound each, or both
            bounds = (0.0, np.inf) if node.op == "Relu" else self._bounds(node)
            low, high = max(low, bounds[0]), min(high, bounds[1])
            parts.append(node.name)
            node = self._made.get(node.inputs[0])
        if (low, high) != (0, 6) or node is None or node.op != "Add":
            return None
        for x, number in (node.inputs, node.inputs[::-1]):
            value = self._net.initializers.get(number)
            if value is not None and value.size == 1 and float(value.reshape(-1)[0]) == 3:
                self.parts += [*parts, node.name]
                return x
        return None

    def _x_times_relu6(self, name: str) -> str | None:
        """Return x of ``x * clip(x + 3, 0, 6)``."""
        product = self._made.get(name)
        if product is None or product.op != "Mul":
            return None
        for x, gate in (product.inputs, product.inputs[::-1]):
            if self._relu6_of_x_plus_3(gate) == x:
                self.parts.append(product.name)
                return x
        return None

    def _bounds(self, clip: OnnxNode) -> tuple[float, float]:
        bounds = [float(clip.attrs.get("min", -np.inf)), float(clip.attrs.get("max", np.inf))]
        for index in (1, 2):
            if len(clip.inputs) > index and clip.inputs[index]:
                bounds[index - 1] = self._net.scalar(clip, index)
        return bounds[0], bounds[1]

    def _one_sided(self, node: OnnxNode) -> OnnxNode:
        side = "max" if node.op == "Min" else "min"
        for x, number in (node.inputs, node.inputs[::-1]):
            value = self._net.initializers.get(number)
            if value is not None and value.size == 1:
                return OnnxNode(node.name, "Clip", (x,), node.output, {side: float(value.reshape(-1)[0])})
        return node

    def _bent(self, node: OnnxNode) -> OnnxNode:
        """Return the PRelu that is ``x where x > 0, else slope * x``, as PyTorch's programs spell it."""
        sign, product = self._made.get(node.inputs[0]), self._made.get(node.inputs[2])
        constants, x = self._net.initializers, node.inputs[1]
        if sign is None or product is None or sign.op not in ("Greater", "GreaterOrEqual") or product.op != "Mul":
            return node
        zero = constants.get(sign.inputs[1])
        slopes = [name for name in product.inputs if name in constants]
        if sign.inputs[0] != x or x not in product.inputs or zero is None or zero.any() or len(slopes) != 1:
            return node
        self.parts = [sign.name, product.name]
        return self._prelu(OnnxNode(node.name, "PRelu", (x, slopes[0]), node.output))

    def _prelu(self, node: OnnxNode) -> OnnxNode:
        slope = self._net.constant(node, 1).reshape(-1)
        if np.unique(slope).size != 1 or not 0 <= slope[0] < 1:
            return node
        return OnnxNode(node.name, "LeakyRelu", node.inputs[:1], node.output, {"alpha": float(slope[0])})
