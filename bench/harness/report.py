"""The tables of a run, as Markdown that reads well in a terminal too, and the same as JSON."""
import json
import os
import platform
import subprocess
from datetime import datetime
from pathlib import Path

BENCH = Path(__file__).resolve().parents[1]
PAIR = ("tenantry", "pgbouncer")


def commit() -> str:
    """The short name of the commit, with `-dirty` if sources differ; `unknown` outside git."""
    def git(*arguments):
        return subprocess.run(["git", "-C", BENCH, *arguments], capture_output=True, text=True, check=True).stdout

    try:
        name = git("rev-parse", "--short", "HEAD").strip()
        return name + ("-dirty" if git("status", "--porcelain", "--untracked-files=no").strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine() -> dict:
    """What the figures were measured on."""
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release(),
            "load_before": round(os.getloadavg()[0], 2)}


class Report:
    """Head, tables and notes of one run."""

    def __init__(self, results, versions, arguments, where):
        self.results, self.versions, self.where = results, versions, where
        self.arguments, self.commit = arguments, commit()
        self.date = datetime.now()

    def save(self, seconds) -> Path:
        """Writes the Markdown and the JSON; the path of the first."""
        place = BENCH / "results"
        place.mkdir(parents=True, exist_ok=True)
        path = place / f"{self.date:%Y-%m-%dT%H%M%S}-{self.commit}.md"
        path.write_text(self.markdown(seconds))
        path.with_suffix(".json").write_text(json.dumps(self._data(seconds), indent=1) + "\n")
        return path

    def markdown(self, seconds) -> str:
        """The whole report."""
        where = self.where
        lines = ["# Benchmark", "",
                 f"{self.date:%Y-%m-%d %H:%M}, commit {self.commit}, `bench/run {self.arguments}`, "
                 f"{seconds / 60:.1f} minutes.".replace(" `bench/run `", " `bench/run`"),
                 f"{where['cpu']}, {where['cores']} cores, Linux {where['kernel']}, "
                 f"load {where['load_before']} at the start.", ""]
        lines += [f"- {name}: {version}" for name, version in self.versions.items()]
        lines += ["", "Medians over the rounds. Times mean nothing from machine to machine; the rows "
                  f"`{' / '.join(PAIR)}` do: ratios round by round, median (min..max)."]
        for measure in dict.fromkeys(measure for measure, _ in self.results.cells):
            lines += ["", f"## {measure.title}", "", *self.table(measure)]
        for title, texts in (("Notes", self.results.notes), ("Failures", self.results.failures)):
            if texts:
                lines += ["", f"## {title}", "", *(f"- {text}" for text in texts)]
        return "\n".join(lines) + "\n"

    def table(self, measure) -> list:
        """One measure's lines."""
        rows = [[*measure.labels, "target", *(header for _, header, _ in measure.metrics)]]
        for (of, cell), targets in self.results.cells.items():
            if of == measure:
                names = sorted(targets, key=lambda name: list(self.versions).index(name) if name in self.versions else 99)
                rows += [[*map(str, cell), name, *self._values(measure, cell, name)] for name in names]
                rows += self._ratio_row(measure, cell)
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["| " + " | ".join(text.ljust(width) for text, width in zip(row, widths)) + " |" for row in rows]
        return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]

    def _values(self, measure, cell, target):
        missing = "n/a" if (measure, cell, target) in self.results.skipped else "-"
        for key, _, decimals in measure.metrics:
            value = self.results.median(measure, cell, target, key)
            if value is None or decimals is None:
                yield value or missing
            else:
                yield f"{value:,.{decimals}f}"

    def _ratio_row(self, measure, cell):
        ratios = [self.results.ratio(measure, cell, key, PAIR) for key, _, _ in measure.metrics]
        if not any(ratios):
            return []
        texts = ["" if r is None else f"{r[0]:.2f} ({r[1]:.2f}..{r[2]:.2f})" for r in ratios]
        return [[*map(str, cell), " / ".join(PAIR), *texts]]

    def _data(self, seconds):
        return {"date": self.date.isoformat(timespec="seconds"), "commit": self.commit,
                "arguments": self.arguments, "seconds": round(seconds), "machine": self.where,
                "versions": self.versions, "cells": self.results.as_data(PAIR),
                "notes": self.results.notes, "failures": self.results.failures}
