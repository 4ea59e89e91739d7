"""`mvault lineage`: where a version comes from, and what came of it."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from vault.cli.command import verb
from vault.cli.completion import ReferenceText
from vault.cli.options import common_of
from vault.cli.output import echo
from vault.cli.text import clean, when

if TYPE_CHECKING:
    from vault.actions.lineage import Edge, Lineage, Node


@verb(
    "lineage",
    examples=(
        "mvault lineage churn@prod",
        "mvault lineage churn:3 --parents           # and not what came of it",
        "mvault lineage churn:3 --dot | dot -Tsvg > churn.svg",
    ),
)
@click.argument("reference", metavar="REF", type=ReferenceText())
@click.option("--parents", "only_parents", is_flag=True, help="Only where it comes from.")
@click.option("--depth", type=click.IntRange(0), default=32, show_default=True, help="Generations, each way.")
@click.option("--dot", is_flag=True, help="Write a graph for Graphviz.")
@click.pass_context
def lineage(context: click.Context, reference: str, only_parents: bool, depth: int, dot: bool) -> None:
    """Show the versions that REF comes from, and those that come from it.

    Every version is verified. Which data, runs and commits were behind one is
    shown where you may read it. Columns when piped: child, relation, parent.
    """
    common = common_of(context)
    found = common.open().lineage(reference, children=not only_parents, depth=depth)
    console = common.console
    if console.json(_value(found)):
        return
    if dot:
        for line in _dot(found):
            echo(line)
    elif console.to_terminal:
        for line in _tree(found):
            echo(clean(line))
    else:
        for edge in found.edges:
            child, parent = found.nodes[edge.child], found.nodes[edge.parent]
            echo(f"{child.reference}\t{edge.relation}\t{parent.reference}")
    if found.cut:
        console.notice("There are more: --depth says how many generations are shown.")


def _value(found: "Lineage") -> dict[str, object]:
    return {
        "reference": found.nodes[found.start].reference,
        "digest": found.start,
        "nodes": [
            {
                "reference": node.reference,
                "digest": node.digest,
                "created": node.created or None,
                "publishers": list(node.publishers),
                "trouble": node.trouble,
                "unread": node.unread,
                "training_data": node.training_data,
                "git": node.git,
                "runs": dict(node.runs),
            }
            for node in found.nodes.values()
        ],
        "edges": [
            {"child": edge.child, "parent": edge.parent, "relation": edge.relation} for edge in found.edges
        ],
        "shared_data": [
            {"training_data": data, "versions": list(versions)} for data, versions in found.shared.items()
        ],
        "cut": found.cut,
    }


def _tree(found: "Lineage") -> Iterator[str]:
    """Draw the version, its ancestors below it, then its descendants."""
    yield _line(found, found.nodes[found.start])
    yield from _branches(found, found.parents, lambda edge: edge.parent, "{relation} {line}")
    below = found.children(found.start)
    if below:
        yield ""
        yield f"What came of {found.nodes[found.start].reference}:"
        yield from _branches(found, found.children, lambda edge: edge.child, "{line}, {relation} it")
    for data, versions in found.shared.items():
        yield ""
        yield f"Trained on the same data, {data[:19]}…: {', '.join(versions)}"


def _branches(
    found: "Lineage",
    edges_of: "Callable[[str], Sequence[Edge]]",
    end: "Callable[[Edge], str]",
    form: str,
) -> Iterator[str]:
    """Draw branches from the start on, each version with its own branches once; without recursion."""
    drawn = {found.start}
    left = [(edge, "", last) for edge, last in _marked(edges_of(found.start))]
    while left:
        edge, indent, last = left.pop()
        node = found.nodes[end(edge)]
        again = node.digest in drawn and bool(edges_of(node.digest))
        line = f"{node.reference} (see above)" if again else _line(found, node)
        yield indent + ("└─ " if last else "├─ ") + form.format(relation=edge.relation, line=line)
        if node.digest not in drawn:
            drawn.add(node.digest)
            deeper = indent + ("   " if last else "│  ")
            left += [(inner, deeper, ending) for inner, ending in _marked(edges_of(node.digest))]


def _marked(edges: "Sequence[Edge]") -> "list[tuple[Edge, bool]]":
    """Pair edges with whether each is the last; a stack gives them back first to last."""
    return [(edge, place == len(edges) - 1) for place, edge in enumerate(edges)][::-1]


def _line(found: "Lineage", node: "Node") -> str:
    if node.trouble:
        return f"{node.reference}  {node.trouble}"
    parts = [node.reference, f"{when(node.created)} by {', '.join(node.publishers)}"]
    if node.training_data is not None:
        parts.append(f"data {node.training_data[:19]}…")
    if node.git is not None:
        parts.append(f"git {node.git[:12]}")
    parts += [f"{tool} {run}" for tool, run in node.runs.items()]
    return "  ".join(parts)


def _dot(found: "Lineage") -> Iterator[str]:
    """Write the graph for Graphviz; names go through `_quoted`, since a stranger may have chosen them."""
    yield "digraph lineage {"
    yield "  rankdir=BT;"
    for node in found.nodes.values():
        style = ", style=dashed" if node.trouble else ", penwidth=2" if node.digest == found.start else ""
        yield f"  {_quoted(node.digest)} [label={_quoted(node.reference)}{style}];"
    for edge in found.edges:
        yield f"  {_quoted(edge.child)} -> {_quoted(edge.parent)} [label={_quoted(edge.relation)}];"
    yield "}"


def _quoted(text: str) -> str:
    escaped = clean(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
