"""The card of a saved model: what it does, how well, and how to use it.

Text comes from a `Card`, numbers from `metrics.json` and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtl_zoo.evaluation.report import format_spread, markdown_table

Metrics = Mapping[str, Any]
Directions = Mapping[str, Mapping[str, str]]

_USE = """\
{command}In Python, as a Keras model that predicts, and that can be trained further:

```python
import mtl_zoo as mtl

model = mtl.load("{name}")
outputs = model.predict_tasks(inputs)  # {python}
```

With TensorFlow Serving, which needs neither Keras nor this package:

```sh
cd saved_models && docker compose up
{ask}
```

The SavedModel's signature `serving_default` answers for all tasks; each task has a
signature of its own, called like it, and docs/serving.md describes the others.
`mtl-zoo export {name} DIR` writes it for a server of your own.

{interface}"""

_COMMAND = """\
On the command line, for {what}:

```sh
mtl-zoo predict {name} {arguments}
```

"""

TEXT = '"What a joy to see Oslo again."'


@dataclass(frozen=True)
class _Kind:
    """How models for one kind of inputs are used.

    Attributes:
        python: What they take in Python.
        client: Arguments of `client.py`.
        what: What they take on the command line.
        arguments: Arguments of `mtl-zoo predict`.
    """

    python: str
    client: str
    what: str
    arguments: str


# By the name of the input.
KINDS = {
    "images": _Kind(
        python="RGB images (batch, height, width, 3), 0 to 255",
        client="picture.jpg",
        what="images of any size",
        arguments="my_images/ --out=predictions",
    ),
    "text": _Kind(
        python="strings (batch,), such as tf.constant([...])",
        client=f"--text {TEXT}",
        what="texts, files with one text a line, or standard input",
        arguments=TEXT,
    ),
}
_ASK = "python client.py {name} {client}"
_CURL = "curl localhost:8501/v1/models/{name}:predict -d '{{\"instances\": [...]}}'"


@dataclass(frozen=True)
class Card:
    """What a card says besides numbers.

    Attributes:
        summary: One sentence: what goes in and what comes out.
        data: What it was trained and tested on: source, splits, licence of the data.
        licence: Under which terms the weights may be used.
        limits: What it can not do, one sentence each.
        authors: Who made it. Defaults to the authors of mtl_zoo.
        citation: What to cite, Markdown. Defaults to nothing.
    """

    summary: str
    data: str
    licence: str
    limits: Sequence[str]
    authors: str = "The mtl_zoo authors."
    citation: str = ""


def render(
    name: str,
    card: Card,
    metrics: Metrics,
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    directions: Directions,
    picture: bool = False,
) -> str:
    """Return the card, Markdown.

    Args:
        name: Name of the saved model.
        card: The text.
        metrics: The content of `metrics.json`.
        inputs: What each input of the SavedModel is, by name.
        outputs: What each output of the SavedModel is, by name.
        directions: `{task: {metric: "up" or "down"}}`.
        picture: Whether there is a `sample.png` to show. Defaults to `False`.
    """
    kind = KINDS.get(next(iter(inputs), ""))
    rows = [[f"`{key}`", "input", text] for key, text in inputs.items()]
    rows += [[f"`{key}`", "output", text] for key, text in outputs.items()]
    use = _USE.format(
        name=name,
        command=_COMMAND.format(name=name, what=kind.what, arguments=kind.arguments)
        if kind
        else "",
        python=kind.python if kind else "a batch",
        ask=_ASK.format(name=name, client=kind.client)
        if kind
        else _CURL.format(name=name),
        interface=table(["Name", "", "What"], rows),
    )
    sample = "![A picture with the model's predictions drawn on it](sample.png)"
    sections = {
        "How to use it": use,
        "Results": results(metrics, directions),
        "Data": card.data,
        "Limits": "\n".join(f"- {limit}" for limit in card.limits),
        "How it was made": _making(metrics),
        "Licence": card.licence,
        "Authors": "\n\n".join(filter(None, [card.authors, card.citation])),
    }
    parts = [f"# {name}", card.summary, *([sample] if picture else [])]
    parts += [f"## {title}\n\n{text}" for title, text in sections.items()]
    return "\n\n".join(parts) + "\n"


def results(metrics: Metrics, directions: Directions) -> str:
    """Return the results as Markdown: what they are, tables, delta_m and cost."""
    parts = [
        f"On the {metrics['split']} split; {_over(metrics['seeds'])}. "
        f"{_better(directions)}",
        markdown_table(metrics).strip(),
    ]
    if told := _gained_and_lost(metrics["results"], directions):
        parts.append(told)
    for task, rows in metrics.get("tables", {}).get("multi_task", {}).items():
        head = [f"`{task}`", *next(iter(rows.values()))]
        body = [[name, *map(str, row.values())] for name, row in rows.items()]
        parts.append(table(head, body))
    if metrics["cost"]:
        lines = [f"- {text}" for text in _flatten(metrics["cost"])]
        parts.append("Cost:\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table.

    Example:
        >>> print(table(["a", "b"], [["1", "2"]]))
        | a | b |
        | --- | --- |
        | 1 | 2 |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def summary_of(card: str) -> str:
    """Return the one sentence that a rendered card begins with."""
    return card.split("\n\n")[1].replace("\n", " ")


def _making(metrics: Metrics) -> str:
    versions = ", ".join(f"{k} {v}" for k, v in metrics["versions"].items() if v)
    commit = f", commit `{metrics['commit']}`" if metrics["commit"] else ""
    return (
        f"```sh\n{metrics['command']}\n```\n\nRecipe `{metrics['recipe']}`{commit}, on "
        f"{metrics['device']}; {_duration(metrics['wall_time_s'])} for all runs. "
        f"{versions}."
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    if seconds < 7200:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"


def _over(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"one run, seed {seeds[0]}"
    return (
        "mean ± standard deviation over runs with the seeds "
        f"{', '.join(map(str, seeds))}"
    )


def _gained_and_lost(results: Mapping[str, Any], directions: Directions) -> str:
    """Say which tasks sharing helped, by the first metric of each."""
    words: dict[str, list[str]] = {"gained": [], "lost": [], "stayed as they were": []}
    for task, found in results["multi_task"].items():
        metric = next(iter(found))
        alone = results.get("single_task", {}).get(task, {}).get(metric)
        direction = directions.get(task, {}).get(metric)
        if alone is None or direction is None:
            continue
        change = found[metric]["mean"] - alone["mean"]
        if direction == "down":
            change = -change
        word = (
            "gained" if change > 0 else "lost" if change < 0 else "stayed as they were"
        )
        words[word].append(task)
    parts = [f"{', '.join(tasks)} {word}" for word, tasks in words.items() if tasks]
    if not parts:
        return ""
    return f"Against training alone, by the first metric: {'; '.join(parts)}."


def _better(directions: Directions) -> str:
    """Say which metrics go up and which go down."""
    sentences = []
    for direction, word in (("up", "Larger"), ("down", "Smaller")):
        names = [
            f"{task} {metric}"
            for task, metrics in directions.items()
            for metric, found in metrics.items()
            if found == direction
        ]
        if names:
            sentences.append(f"{word} is better for {', '.join(names)}.")
    return " ".join(sentences)


def _flatten(value: Any, path: str = "") -> list[str]:
    """A nested dict of figures as lines such as `latency_ms, multi_task: 12.3`."""
    if isinstance(value, Mapping) and set(value) != {"mean", "sd", "n"}:
        prefix = f"{path}, " if path else ""
        return [
            line
            for key, inner in value.items()
            for line in _flatten(inner, f"{prefix}{key}")
        ]
    return [f"{path}: {_figure(value)}"]


def _figure(value: Any) -> str:
    if isinstance(value, Mapping):
        return format_spread(value)
    if isinstance(value, float):
        return format_spread({"mean": value, "sd": None, "n": 1})
    return f"{value:,}" if isinstance(value, int) else str(value)
