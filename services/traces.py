"""What fired what: the spans of this process as trees, while they come to be."""

from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from rich.text import Text
from rich.tree import Tree


class Traces(SpanProcessor):
    """The spans of this process, by the spans that caused them."""

    def __init__(self) -> None:
        self.roots: list[ReadableSpan] = []
        self._begun: dict[int, ReadableSpan] = {}
        self._caused: dict[int, list[ReadableSpan]] = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Take a span that begins; the SDK calls this."""
        self._begun[_id(span)] = span
        if span.parent is None:
            self.roots.append(span)
        else:
            self._caused.setdefault(span.parent.span_id, []).append(span)

    @property
    def count(self) -> int:
        """How many spans have begun."""
        return len(self._begun)

    def tree(self, root: ReadableSpan) -> Tree:
        """What a span caused, as far as that has come."""
        tree = Tree(_label(root), guide_style="dim")
        self._grow(tree, root, ())
        return tree

    def branches(self, name: str, known: int) -> list[Tree]:
        """The way from its root to each span of that name, but for the `known` first ones."""
        found = [span for span in list(self._begun.values())[known:] if span.name == name]
        return [self._branch(span) for span in found]

    def _branch(self, span: ReadableSpan) -> Tree:
        way = [span]
        while (parent := way[0].parent) is not None:
            way.insert(0, self._begun[parent.span_id])
        tree = Tree(_label(way[0]), guide_style="dim")
        self._grow(tree, way[0], way[1:])
        return tree

    def _grow(self, tree: Tree, cause: ReadableSpan, way: Sequence[ReadableSpan]) -> None:
        """Add what a span caused: all of it, or only the next span of a way to one."""
        for span in way[:1] or list(self._caused.get(_id(cause), ())):
            # A call, or what is sent, is told by the run that it leads to.
            told = span.kind in (SpanKind.SERVER, SpanKind.CONSUMER) or _is_event(span)
            waits = span.kind is SpanKind.PRODUCER and _id(span) not in self._caused
            self._grow(tree.add(_label(span)) if told or waits else tree, span, way[1:])


def _label(span: ReadableSpan) -> Text:
    if _is_event(span):
        return Text(f"◆ {span.name.removeprefix('emit ')}", "yellow")
    if span.kind is SpanKind.PRODUCER:
        return Text(f"{span.name.removeprefix('send ')} waits in the broker", "dim")
    if span.kind is SpanKind.INTERNAL:
        return Text(span.name, "bold")
    label = Text.assemble((span.name, "bold cyan"), (_why(span), "dim"))
    if span.end_time is None or span.start_time is None:
        return label.append(" …")
    label.append(f"  {(span.end_time - span.start_time) / 1e6:.0f} ms", "green")
    if span.status.status_code is StatusCode.ERROR:
        error, _, message = str(span.status.description).partition(": ")
        label.append(f"  ✗ {error.rpartition('.')[2]}: {message}", "red")
    return label


def _why(span: ReadableSpan) -> str:
    """What fired a run, where its place in the tree does not say it."""
    attributes = span.attributes or {}
    match attributes.get("eventmesh.trigger"):
        case "invoke" if span.kind is SpanKind.SERVER:
            why = "  is called"
        case "invoke":
            why = "  was sent"
        case "queue":
            why = f"  takes a batch of {attributes.get('messaging.batch.message_count')}"
        case "cron":
            why = "  by its timer"
        case _:
            why = ""
    attempt = attributes.get("eventmesh.attempt")
    return why if attempt == 1 else f"{why}  attempt {attempt}"


def _is_event(span: ReadableSpan) -> bool:
    return span.kind is SpanKind.PRODUCER and span.name.startswith("emit ")


def _id(span: ReadableSpan) -> int:
    context = span.get_span_context()
    return 0 if context is None else context.span_id
