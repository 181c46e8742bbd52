"""Functions are short enough to be seen whole."""

from __future__ import annotations

import ast

from source_tree import modules, tree

SCREEN = 60
"""Lines of a function, its signature and docstring included."""
VERB = 40
"""Lines of a verb's body, docstring included: its options are a list, and what it does with them is called by name."""


def is_verb(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether its parameters are a command's options: some are told to be so in place."""
    arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
    return any(one.annotation and "typer." in ast.unparse(one.annotation) for one in arguments)


def test_every_function_fits_a_screen() -> None:
    functions = [
        (module, node)
        for module, path in modules().items()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert len(functions) > 1000
    verbs = [(module, node) for module, node in functions if is_verb(node)]
    assert len(verbs) > 10
    bodies = [(module, node.name, node.end_lineno - node.body[0].lineno + 1) for module, node in verbs]
    assert [found for found in bodies if found[2] > VERB] == []
    whole = [(module, node.name, node.end_lineno - node.lineno + 1) for module, node in functions if not is_verb(node)]
    assert [found for found in whole if found[2] > SCREEN] == []
