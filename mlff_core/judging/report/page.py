"""One self-contained HTML page: no network and no other files are needed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from mlff_core import __version__
from mlff_core.atomic_write import write_atomically
from mlff_core.judging.definitions import METRICS, measured, number
from mlff_core.judging.outcome import Evaluation
from mlff_core.judging.physics.result import PhysicsReport
from mlff_core.judging.report.physics_plots import dimer_figure, drift_figure, frequency_figure, torsion_figure
from mlff_core.judging.report.plots import force_figure, png, reliability_figure

TILES = ("force_mae", "force_rmse", "force_r2", "force_angle_median_deg", "relative_energy_mae_mev_per_atom")


@dataclass(frozen=True, eq=False)
class ReportedModel:
    """Results of one model for the page."""

    evaluation: Evaluation
    """Errors on the data set."""
    worst: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    """From :func:`mlff_core.judging.report.worst.worst_structures`."""
    physics: PhysicsReport | None = None
    """Physics checks, if they were run."""

    @cached_property
    def force_png(self) -> bytes:
        """The six-panel force analysis as a PNG file."""
        return png(force_figure(self.evaluation))


def write_page(path: Path, judged: Sequence[ReportedModel]) -> None:
    """Write the page of one or several models, by rename.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    """
    write_atomically(path, page(judged).encode())


def page(judged: Sequence[ReportedModel]) -> str:
    """Return the page of one or several models as HTML."""
    folder = files("mlff_core.judging.report")
    css, script = ((folder / name).read_text(encoding="utf-8") for name in ("page.css", "viewer.js"))
    names = [one.evaluation.card.name for one in judged]
    title = names[0] if len(names) == 1 else f"{len(names)} models compared"
    data = judged[0].evaluation.data
    teacher = data.get("teacher", {}).get("name", "")
    split = f", split {data['split']}" if data.get("split") else ""
    body = [f"<h1>{escape(title)}</h1>"]
    lead = f"Judged on {data['file']}{split}" + (f", labelled by {teacher}" if teacher else "")
    body.append(f'<p class="lead">{escape(lead)}. mlff-hub {__version__}.</p>')
    if len(judged) > 1:
        body += ["<h2>Comparison</h2>", comparison(judged)]
    for one in judged:
        if len(judged) > 1:
            body.append(f"<h2>{escape(one.evaluation.card.name)}</h2>")
        body += _model(one)
    body += ["<h2>Definitions</h2>", _definitions(), f"<script>{script}</script>"]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{css}</style></head><body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def comparison(judged: Sequence[ReportedModel]) -> str:
    """Return the table of models side by side as HTML."""
    cards = [one.evaluation.card for one in judged]
    rows = [["parameters", *(number(card.n_parameters or None) for card in cards)]]
    for name, (label, unit, _) in measured(*(one.evaluation.metrics for one in judged)):
        rows.append([f"{label} {unit}", *(number(one.evaluation.metrics[name]) for one in judged)])
    return table(["", *(card.name for card in cards)], rows)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return an HTML table; the first column holds text, the others numbers. All text is escaped."""

    def cells(tag: str, row: Sequence[str]) -> str:
        marks = ["", *[' class="number"'] * (len(row) - 1)]
        return "".join(f"<{tag}{mark}>{escape(text)}</{tag}>" for mark, text in zip(marks, row, strict=True))

    head = cells("th", header)
    lines = (f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _model(one: ReportedModel) -> list[str]:
    evaluation = one.evaluation
    found = evaluation.to_json()
    tiles = "".join(
        f'<div class="tile"><b>{escape(number(found[name]))}</b>'
        f"<span>{escape(METRICS[name].label)} {escape(METRICS[name].unit)}</span></div>"
        for name in TILES
    )
    counts = f"{found['n_structures']} structures of {found['n_molecules']} molecules, {found['n_atoms']} atoms"
    parts = [f'<div class="tiles">{tiles}</div>', f'<p class="note">{counts}.</p>']
    parts += [
        f'<p class="fail">{count} structures not evaluated: {escape(reason)}</p>'
        for reason, count in found["skipped"].items()
    ]
    rows = []
    for name, (label, unit, _) in measured(found):
        low, high = found["intervals"].get(name, (None, None))
        interval = "" if low is None else f"{number(low)} to {number(high)}"
        rows.append([f"{label} {unit}", number(found[name]), interval])
    parts += [
        "<h3>Errors</h3>",
        table(["metric", "value", "95 % interval, bootstrap over molecules"], rows),
        _image(one.force_png, "Six-panel force analysis"),
        "<h3>By element</h3>",
        _grouped(found["by_element"]),
        "<h3>By kind of geometry</h3>",
        _grouped(found["by_kind"]),
    ]
    reliability = reliability_figure(evaluation)
    if reliability is not None:
        caption = "Reliability of the predicted deviations"
        parts += [f"<h3>{caption}</h3>", _image(png(reliability), caption)]
    if one.worst:
        parts += ["<h3>Worst structures</h3>", _worst(one.worst)]
    if one.physics is not None:
        parts += ["<h3>Physics checks</h3>", *_physics(one.physics)]
    return [*parts, "<h3>Model card</h3>", _card(evaluation)]


def _grouped(rows: Mapping[str, Mapping[str, Any]]) -> str:
    columns = [column for column in next(iter(rows.values())) if column != "force_r2"]
    header = [
        column.removeprefix("n_") if column not in METRICS else f"{METRICS[column].label} {METRICS[column].unit}"
        for column in columns
    ]
    return table(["", *header], [[name, *(number(row[column]) for column in columns)] for name, row in rows.items()])


def _worst(structures: Sequence[Mapping[str, Any]]) -> str:
    columns = {
        "index": "structure",
        "kind": "kind",
        "n_atoms": "atoms",
        "force_rmse": "force RMSE eV/Å",
        "largest_error": "largest error eV/Å",
    }
    head = "".join(f"<th>{name}</th>" for name in columns.values())
    rows = "".join(
        f'<tr tabindex="0" title="{escape(s["smiles"])}">'
        + "".join(f"<td>{escape(s[key] if key == 'kind' else number(s[key]))}</td>" for key in columns)
        + "</tr>"
        for s in structures
    )
    return (
        f'<div class="worst"><script type="application/json">{_embedded(list(structures))}</script><div class="pair">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table><div><canvas></canvas>"
        '<p class="note">Drag to turn, wheel to zoom; the atom with the largest error is ringed.<br>'
        '<label><input type="checkbox" name="reference" checked> <span class="reference">forces, teacher</span></label>'
        '<label><input type="checkbox" name="predicted" checked> <span class="predicted">forces, model</span></label>'
        "</p></div></div></div>"
    )


def _physics(report: PhysicsReport) -> list[str]:
    lines = []
    for check in report.checks:
        verdict = {True: '<span class="pass">passed</span>', False: '<span class="fail">failed</span>', None: ""}[
            check.passed
        ]
        lines.append(
            f'<tr><td>{escape(check.name)}</td><td class="number">{escape(number(check.value))}</td>'
            f'<td>{escape(check.unit)}</td><td class="number">{"" if check.limit is None else f"{check.limit:g}"}</td>'
            f'<td>{verdict}</td><td class="text">{escape(check.definition)}</td></tr>'
        )
    header = (
        "<tr><th>check</th><th class=number>found</th><th>unit</th><th class=number>limit</th>"
        "<th></th><th>what it is</th></tr>"
    )
    parts = [f'<div class="scroll"><table><thead>{header}</thead><tbody>{"".join(lines)}</tbody></table></div>']
    for figure, caption in (
        (drift_figure(report), "Energy conservation"),
        (torsion_figure(report), "Torsion scans"),
        (dimer_figure(report), "Dimer curves; dashed: 0.7 sums of covalent radii"),
        (frequency_figure(report), "Harmonic frequencies"),
    ):
        if figure is not None:
            parts += [f"<h3>{caption}</h3>", _image(png(figure), caption)]
    return parts


def _card(evaluation: Evaluation) -> str:
    entries = {
        **evaluation.card.to_dict(),
        "elements": " ".join(evaluation.card.symbols),
        "judged on": {key: value for key, value in evaluation.data.items() if key != "teacher"},
    }
    lines = "".join(
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(_as_text(value))}</dd>"
        for name, value in entries.items()
        if value not in ("", {}, [], None)
    )
    return f"<dl>{lines}</dl>"


def _as_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_as_text(item)}" for key, item in value.items() if item not in ("", None))
    if isinstance(value, list | tuple):
        return "; ".join(_as_text(item) for item in value)
    return str(value)


def _definitions() -> str:
    lines = "".join(
        f"<dt>{escape(f'{label} {unit}'.strip())}</dt><dd>{escape(definition)}</dd>"
        for label, unit, definition in METRICS.values()
    )
    return f"<dl>{lines}</dl>"


def _image(content: bytes, description: str) -> str:
    source = base64.b64encode(content).decode()
    return f'<img alt="{escape(description)}" src="data:image/png;base64,{source}">'


def _embedded(value: Any) -> str:
    """Return JSON that may stand inside a script element for any text in it."""
    return json.dumps(value).replace("<", "\\u003c")
