"""Which functions of a SavedModel's graph call which, and what they do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tensorflow.core.framework import graph_pb2, node_def_pb2, types_pb2

_MARK = "_XlaMustCompile"
_STRING_TYPES = {types_pb2.DT_STRING}
_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}


class Functions:
    """The functions of a graph.

    Args:
        graph: The graph of a SavedModel.
    """

    def __init__(self, graph: graph_pb2.GraphDef) -> None:
        self._nodes = {node.name: node for node in graph.node}
        self._bodies = {f.signature.name: f for f in graph.library.function}
        self._inner = {
            name: {node.name: node for node in body.node_def}
            for name, body in self._bodies.items()
        }

    @property
    def all_marked(self) -> set[str]:
        """Names of all functions that are marked to be compiled by XLA."""
        nodes = [*self._nodes.values()]
        nodes += [node for f in self._bodies.values() for node in f.node_def]
        called = {
            name for node in nodes if node.attr[_MARK].b for name in _called(node)
        }
        return called | {n for n, f in self._bodies.items() if f.attr[_MARK].b}

    def marked_for_xla(self, tensors: Iterable[str]) -> set[str]:
        """Return the marked functions that graph tensors depend on, by their names."""
        marked = self.all_marked
        return {
            name
            for tensor in tensors
            for name in self._functions_behind(tensor)
            if name in marked
        }

    def made_by(self, tensor: str) -> set[str]:
        """Return the operations that a tensor of the graph may depend on.

        Calls are followed output by output; loops and branches count as a whole.
        """
        operations: set[str] = set()
        seen: set[tuple[str, str]] = set()
        waiting = [("", tensor)]  # a function, "" for the graph, and a tensor there
        while waiting:
            function, name = waiting.pop()
            if (function, name) in seen:
                continue
            seen.add((function, name))
            node = self._node(function, name)
            if node is None:  # an argument: the call that passes it is followed anyway
                continue
            operations.add(node.op)
            waiting += [(function, source) for source in node.input]
            if node.op in _CALLS and (called := self._bodies.get(*_called(node))):
                index = name.split(":")[-1] if ":" in name else "0"
                output = called.signature.output_arg[int(index)].name
                waiting.append((called.signature.name, called.ret[output]))
            else:
                for inner in self._with_inner(_called(node)):
                    operations |= {n.op for n in self._bodies[inner].node_def}
        return operations

    def string_operations(self, function: str) -> set[str]:
        """Return the operations on strings inside a function and what it calls."""
        found = set()
        for name in self._with_inner([function]):
            body = self._bodies[name]
            arguments = [*body.signature.input_arg, *body.signature.output_arg]
            if any(argument.type in _STRING_TYPES for argument in arguments):
                found.add(name)
            found |= {
                node.op
                for node in body.node_def
                if any(_is_string(value) for value in node.attr.values())
                or node.op.startswith(("Decode", "Encode", "LookupTable"))
            }
        return found

    def _node(self, function: str, tensor: str) -> node_def_pb2.NodeDef | None:
        nodes = self._inner[function] if function else self._nodes
        return nodes.get(_node_name(tensor))

    def _functions_behind(self, tensor: str) -> set[str]:
        names = [name for node in self._behind(tensor) for name in _called(node)]
        return self._with_inner(names)

    def _behind(self, tensor: str) -> Iterator[node_def_pb2.NodeDef]:
        """Yield the graph's nodes that a tensor depends on."""
        seen: set[str] = set()
        waiting = [_node_name(tensor)]
        while waiting:
            name = waiting.pop()
            if name in seen or name not in self._nodes:
                continue
            seen.add(name)
            yield self._nodes[name]
            waiting += [_node_name(source) for source in self._nodes[name].input]

    def _with_inner(self, names: Iterable[str]) -> set[str]:
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name in found or name not in self._bodies:
                continue
            found.add(name)
            waiting += [
                n for node in self._bodies[name].node_def for n in _called(node)
            ]
        return found


def _called(node: node_def_pb2.NodeDef) -> list[str]:
    """Return the functions that a node calls."""
    names = []
    for value in node.attr.values():
        if value.HasField("func"):
            names.append(value.func.name)
        names += [function.name for function in value.list.func]
    return names


def _node_name(tensor: str) -> str:
    return tensor.removeprefix("^").split(":")[0]


def _is_string(value: object) -> bool:
    return value.type in _STRING_TYPES or bool(_STRING_TYPES & {*value.list.type})  # type: ignore[attr-defined]
