"""How a run can end."""

from enum import StrEnum


class Outcome(StrEnum):
    """What ended a run; `text` says what it means and what to do about it."""

    reached_end = "reached_end"
    norm_reaches = "event:norm_reaches"
    loss_below = "event:loss_below"
    log_loss_below = "event:log_loss_below"
    gradient_below = "event:gradient_below"
    separated = "event:separated"
    sharpness_reaches = "event:sharpness_reaches"
    series_diverges = "series_diverges"
    max_steps = "max_steps"
    stalled = "stalled"
    diverged = "diverged"

    @property
    def text(self) -> str:
        return _TEXTS[self]


_TEXTS = {
    Outcome.reached_end: "the clock reached t1",
    Outcome.norm_reaches: "‖θ‖ reached the given value",
    Outcome.loss_below: "the loss fell below the given value",
    Outcome.log_loss_below: "the logarithm of the loss fell below the given value",
    Outcome.gradient_below: "‖∇L‖ fell below the given value",
    Outcome.separated: "every sample is classified correctly",
    Outcome.sharpness_reaches: "the largest Hessian eigenvalue reached the given value",
    Outcome.series_diverges: (
        "ηλ_max reached 1, where the series of the modified flow ceases to converge; shorten step_size, or follow "
        "descent beyond it with CentralFlow"
    ),
    Outcome.max_steps: "max_steps steps were taken before t1; raise max_steps or rtol, or end the run by an event",
    Outcome.stalled: (
        "the step size fell to rounding at a finite state, as when the flow slides along a kink or a crossing of "
        "kinks; loosen rtol or use a smooth activation"
    ),
    Outcome.diverged: (
        "the loss or the state overflows, or the norm becomes infinite in finite time; the last finite state is kept. "
        "End the run before it (until=norm_reaches), rescale the start, or compute in the log domain"
    ),
}
