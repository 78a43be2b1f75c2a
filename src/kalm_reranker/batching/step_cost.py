"""What a batch will cost, learned from those that ran."""

# What a step is taken to cost before any has run: a small model on a CPU.
_FIRST_STEP_S = 0.005
_FIRST_UNIT_S = 1e-4
# Of what was seen before, when a step more is seen: some twenty steps count.
_MEMORY = 0.95
_SHORTEST_S = 1e-9  # some clocks do not move during the shortest steps; nothing must cost nothing
# A line through steps of about one size may point anywhere: steps grow by no more at once.
_MOST_GROWTH = 2.0


class StepCost:
    """Seconds of a step as a constant and a part per unit (a token, more or less).

    A line through the last steps, by least squares in which older ones fade. Not thread-safe.
    """

    def __init__(self) -> None:
        self.step_s = _FIRST_STEP_S
        self.unit_s = _FIRST_UNIT_S
        # Sums over steps of 1, x, y, xx, xy (x units, y seconds).
        self._sums = [0.0] * 5
        self._largest = 0.0  # units of the largest step, of those that count

    def seen(self, units: float, seconds: float) -> None:
        """Learns from a step that ran."""
        seconds = max(seconds, _SHORTEST_S)
        new = (1.0, units, seconds, units * units, units * seconds)
        self._sums = [_MEMORY * old + more for old, more in zip(self._sums, new, strict=True)]
        self._largest = max(units, _MEMORY * self._largest)
        count, x, y, xx, xy = self._sums
        spread = count * xx - x * x
        if spread > 1e-6 * count * xx:  # steps of different sizes: their line
            unit_s = (count * xy - x * y) / spread
            step_s = (y - unit_s * x) / count
        else:
            unit_s, step_s = -1.0, -1.0
        if unit_s <= 0 or step_s < 0:
            # One size only, or noise: keep the share of the constant, and scale both.
            expected = count * self.step_s + self.unit_s * x
            unit_s, step_s = self.unit_s * y / expected, self.step_s * y / expected
        self.unit_s, self.step_s = unit_s, step_s

    def units_in(self, seconds: float) -> float:
        """Returns how many units a step of so many seconds may have.

        A step takes longer than that where its constant part would be more than half of it. It is
        at most twice as large as those that were seen.
        """
        units = max(seconds - self.step_s, self.step_s) / self.unit_s
        return min(units, _MOST_GROWTH * self._largest) if self._largest else units
