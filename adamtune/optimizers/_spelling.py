"""Expressions that are written down instead of computed: how the door to a framework also gives source.

A door makes an optimizer by calling what the framework has. Where it gets a `Spelled` in the framework's place, the
same calls come back as the line of Python that makes them:

    optax = Spelled.named("optax")
    str(optax.chain(optax.clip(1.0), optax.sgd(lambda age: 0.1 / (1 + 0.5 * age))))

is `optax.chain(optax.clip(1.0), optax.sgd(lambda age: 0.1 / (1 + 0.5 * age)))`. So what is printed and what is made are
one thing. Numbers stand there to their last digit.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from typing import Any


class Spelled:
    """An expression: its attributes, calls and sums are expressions again, and `str` is its source."""

    def __init__(self, node: ast.expr) -> None:
        self._node = node

    @classmethod
    def named(cls, name: str) -> Spelled:
        """A name, such as that of a module."""
        return cls(ast.Name(name, ast.Load()))

    def __str__(self) -> str:
        return ast.unparse(self._node)

    def __getattr__(self, name: str) -> Spelled:
        if name.startswith("_"):  # what Python itself asks every object for
            raise AttributeError(name)
        return Spelled(ast.Attribute(self._node, name, ast.Load()))

    def __call__(self, *given: Any, **named: Any) -> Spelled:
        keywords = [ast.keyword(name, _node(value)) for name, value in named.items()]
        return Spelled(ast.Call(self._node, [_node(value) for value in given], keywords))

    def __neg__(self) -> Spelled:
        return Spelled(ast.UnaryOp(ast.USub(), self._node))

    def __add__(self, other: Any) -> Spelled:
        return _both(self, ast.Add(), other)

    def __radd__(self, other: Any) -> Spelled:
        return _both(other, ast.Add(), self)

    def __sub__(self, other: Any) -> Spelled:
        return _both(self, ast.Sub(), other)

    def __rsub__(self, other: Any) -> Spelled:
        return _both(other, ast.Sub(), self)

    def __mul__(self, other: Any) -> Spelled:
        return _both(self, ast.Mult(), other)

    def __rmul__(self, other: Any) -> Spelled:
        return _both(other, ast.Mult(), self)

    def __truediv__(self, other: Any) -> Spelled:
        return _both(self, ast.Div(), other)

    def __rtruediv__(self, other: Any) -> Spelled:
        return _both(other, ast.Div(), self)

    def __pow__(self, other: Any) -> Spelled:
        return _both(self, ast.Pow(), other)

    def __rpow__(self, other: Any) -> Spelled:
        return _both(other, ast.Pow(), self)


def _both(left: Any, how: ast.operator, right: Any) -> Spelled:
    return Spelled(ast.BinOp(_node(left), how, _node(right)))


def _node(value: Any) -> ast.expr:
    if isinstance(value, Spelled):
        return value._node
    if isinstance(value, (list, tuple)):
        kind = ast.List if isinstance(value, list) else ast.Tuple
        return kind([_node(each) for each in value], ast.Load())
    if callable(value):
        return _function(value)
    if isinstance(value, (int, float)) and value < 0:  # as a constant, -2 would lose its brackets in (-2) ** x
        return ast.UnaryOp(ast.USub(), ast.Constant(-value))
    return ast.Constant(value)


def _function(function: Callable[..., Any]) -> ast.expr:
    """A function as what it answers to the names of its parameters."""
    names = list(inspect.signature(function).parameters)
    body = _node(function(*map(Spelled.named, names)))
    if isinstance(body, ast.Call) and [ast.unparse(each) for each in body.args] == names and not body.keywords:
        return body.func  # lambda x: f(x) is f
    arguments = ast.arguments([], [ast.arg(name) for name in names], None, [], [], None, [])
    return ast.Lambda(arguments, body)
