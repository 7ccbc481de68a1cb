"""The tolerance of the length rule during training: it follows success, and can step back."""

from dataclasses import dataclass


@dataclass
class ToleranceCurriculum:
    """Narrow the length tolerance while the policy keeps up, widen it again when it does not.

    A 0/1 reward teaches most where about half of the completions earn it: p^G + (1-p)^G of the groups are uniform and
    carry no gradient. So the tolerance chases a share, in steps of about an eighth, instead of a clock.

    Attributes:
        tolerance: characters too many or too few that the training reward still accepts.
        maximum: where it starts, and the widest it gets.
        success: running mean of what the gate counts: the share within the tolerance, or the mean training reward.
        patient: after each narrowing the mean starts again half-way between the two marks, and follows more slowly. The
            policy gets time to become what the narrower length asks for.
    """

    tolerance: int
    maximum: int
    raise_above: float
    lower_below: float
    success: float = 0.0
    patient: bool = False

    def update(self, share_within: float) -> None:
        """Account for the share of one step's completions that were within the tolerance, in [0, 1]."""
        share = 0.3 if self.patient else 0.5
        self.success = (1 - share) * self.success + share * share_within
        step = max(1, round(self.tolerance / 8))
        if self.success > self.raise_above and self.tolerance > 0:
            self.tolerance -= step
            if self.patient:
                self.success = (self.raise_above + self.lower_below) / 2
        elif self.success < self.lower_below:
            self.tolerance = min(self.maximum, self.tolerance + step)
