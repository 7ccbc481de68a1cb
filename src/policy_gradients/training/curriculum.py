"""The tolerance of the length rule during training: it follows success, and can step back."""

from dataclasses import dataclass


@dataclass
class ToleranceCurriculum:
    """Narrow the length tolerance while the policy keeps up, widen it again when it does not.

    A 0/1 reward teaches most where about half of the completions earn it: p^G + (1-p)^G of the groups are uniform and
    carry no gradient. So the tolerance chases a pass rate, in steps of about an eighth, instead of a clock.

    Attributes:
        tolerance: characters too many or too few that the training reward still accepts.
        maximum: where it starts, and the widest it gets.
        success: running mean of the share of completions within the tolerance.
    """

    tolerance: int
    maximum: int
    raise_above: float
    lower_below: float
    success: float = 0.0

    def update(self, share_within: float) -> None:
        """Account for the share of one step's completions that were within the tolerance, in [0, 1]."""
        self.success = 0.5 * self.success + 0.5 * share_within
        step = max(1, round(self.tolerance / 8))
        if self.success > self.raise_above and self.tolerance > 0:
            self.tolerance -= step
        elif self.success < self.lower_below:
            self.tolerance = min(self.maximum, self.tolerance + step)
