"""Samples of every cell, their medians, and ratios between two targets with their spread."""
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Measure:
    """A table: its name and title, what labels a cell, which metrics it has."""

    name: str
    title: str
    labels: tuple
    metrics: tuple  # (key, header, decimals; None: a text)


class Results:
    """What was measured, cell by cell, in the order of measuring."""

    def __init__(self):
        self.cells = {}  # (measure, cell) -> {target: {round: {metric: value}}}
        self.skipped = {}  # (measure, cell, target) -> why
        self.notes = []
        self.failures = []

    def add(self, measure, cell, target, turn, values):
        """The values of one round."""
        self._cell(measure, cell).setdefault(target, {})[turn] = values

    def skip(self, measure, cell, target, reason):
        """The target cannot do this."""
        self._cell(measure, cell).setdefault(target, {})
        self.skipped[measure, cell, target] = reason
        self.note(f"{target}: n/a where: {reason}")

    def fail(self, measure, cell, target, error):
        """The target should have done this."""
        self._cell(measure, cell).setdefault(target, {})
        text = f"{measure.name} {' '.join(map(str, cell))}: {target} failed: {error}"
        if text not in self.failures:
            self.failures.append(text)

    def note(self, text):
        """Something the reader must know; said once."""
        if text not in self.notes:
            self.notes.append(text)

    def median(self, measure, cell, target, metric):
        """Over the rounds; None without samples. Of a text: the last."""
        values = [v[metric] for v in self.cells[measure, cell].get(target, {}).values() if metric in v]
        if not values:
            return None
        return values[-1] if isinstance(values[-1], str) else median(values)

    def ratio(self, measure, cell, metric, pair):
        """(median, min, max) of the first target's value by the second's, round by round; None without."""
        first, second = (self.cells[measure, cell].get(name, {}) for name in pair)
        ratios = [first[turn][metric] / second[turn][metric] for turn in first
                  if metric in first[turn] and second.get(turn, {}).get(metric)
                  and not isinstance(first[turn][metric], str)]
        return (median(ratios), min(ratios), max(ratios)) if ratios else None

    def as_data(self, pair) -> list:
        """For JSON: one entry a cell and target, and one a ratio."""
        found = []
        for (measure, cell), targets in self.cells.items():
            entry = {"measure": measure.name, "cell": dict(zip(measure.labels, cell)), "targets": {}, "ratios": {}}
            for target, rounds in targets.items():
                entry["targets"][target] = {
                    "rounds": [rounds[turn] for turn in sorted(rounds)],
                    "median": {key: self.median(measure, cell, target, key) for key, _, _ in measure.metrics},
                    "skipped": self.skipped.get((measure, cell, target))}
            for key, _, _ in measure.metrics:
                ratio = self.ratio(measure, cell, key, pair)
                if ratio:
                    entry["ratios"][key] = dict(zip(("median", "min", "max"), ratio))
            found.append(entry)
        return found

    def _cell(self, measure, cell):
        return self.cells.setdefault((measure, cell), {})
