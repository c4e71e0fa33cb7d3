"""One result of a compilation, in words."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Headline:
    """One result.

    Attributes:
        label: what it is about.
        value: the number.
        words: what the number says.
        detail: what it rests on.
        good: whether it is what was asked for; None where nothing was asked.
    """

    label: str
    value: str
    words: str = ""
    detail: str = ""
    good: bool | None = None

    @property
    def text(self) -> str:
        """All of it in one line."""
        line = " ".join(part for part in (self.value, self.words) if part)
        return f"{line} ({self.detail})" if self.detail else line
