"""What all widgets share: a few controls, a function that draws, and one output that is replaced in place."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from IPython.display import display
from matplotlib.figure import Figure

from policy_gradients.course.display import in_notebook, png_bundle

DPI = 130


@dataclass(frozen=True)
class Control:
    """One setting and the values it may take; numbers become a slider, anything else a menu.

    Attributes:
        label: what stands beside it.
        options: the values, in order, or (what to show, value) pairs.
        start: the value to begin with.
    """

    label: str
    options: Sequence[Any]
    start: Any

    def __post_init__(self) -> None:
        if not self.options:
            raise ValueError(f"{self.label}: a control needs at least one option")
        self.checked(self.start)

    @property
    def pairs(self) -> list[tuple[str, Any]]:
        return [option if isinstance(option, tuple) else (_shown(option), option) for option in self.options]

    def checked(self, value: Any) -> Any:
        """The value, if it is one of the options.

        Raises:
            ValueError: it is not; the message lists them.
        """
        values = [value for _, value in self.pairs]
        if value not in values:
            raise ValueError(f"{self.label} must be one of {', '.join(map(str, values))}; got {value!r}")
        return value


class Explorer:
    """A drawing with controls.

    At the end of a notebook cell it shows the controls and, under them, the drawing as an ordinary output, which moving
    a control replaces. Elsewhere it is worked with `set` and `figure`; `print` gives the drawing's words.
    """

    def __init__(self, draw: Callable[..., Any], controls: Mapping[str, Control], **start: Any):
        """
        Args:
            draw: from the settings, by name, to a `Figure` with its alt text as label, or to anything that has
                `_repr_html_` and a plain `repr`, such as a `Table`.
            controls: name of a setting -> its control.
            start: other values to begin with.

        Raises:
            ValueError: a setting that there is not, or a value that its control does not have.
        """
        self.draw, self.controls = draw, dict(controls)
        self.settings = {name: control.start for name, control in self.controls.items()}
        self.widgets: dict[str, Any] = {}
        self._handle: Any = None
        self.set(**start)

    @property
    def figure(self) -> Any:
        """The drawing at the present settings."""
        return self.draw(**self.settings)

    def set(self, **settings: Any) -> "Explorer":
        """Move controls by program; what is on the page follows.

        Raises:
            ValueError: as on creation; nothing is moved then.
        """
        for name, value in settings.items():
            if name not in self.controls:
                raise ValueError(f"there is no setting {name!r}; there are {', '.join(self.controls)}")
            self.controls[name].checked(value)
        self.settings.update(settings)
        if self.widgets:
            for name, value in settings.items():
                self.widgets[name].value = value  # each redraws, if it moved
        return self

    def __repr__(self) -> str:
        return _bundle(self.figure)[0]["text/plain"]

    def _ipython_display_(self) -> None:
        if not in_notebook():
            print(repr(self))
            return
        self._show_controls()
        data, metadata = _bundle(self.figure)
        self._handle = display(data, raw=True, metadata=metadata, display_id=True)

    def _show_controls(self) -> None:
        try:
            import ipywidgets
        except ImportError:  # the picture alone is a picture
            return
        longest = max(len(control.label) for control in self.controls.values())
        column = {"description_width": f"{0.55 * longest + 0.5:.1f}em"}  # so that the sliders stand under one another
        wide = {"style": column, "layout": {"width": "38em", "max_width": "100%"}}
        for name, control in self.controls.items():
            numbers = all(isinstance(value, int | float) for _, value in control.pairs)
            kind = ipywidgets.SelectionSlider if numbers else ipywidgets.Dropdown
            # drawing takes a while: a slider that is dragged reports where it is let go
            more = {"continuous_update": False} if numbers else {}
            options = {"options": control.pairs, "value": self.settings[name], "description": control.label}
            self.widgets[name] = kind(**options, **wide, **more)
            self.widgets[name].observe(lambda change, name=name: self._moved(name, change["new"]), names="value")
        display(ipywidgets.VBox(list(self.widgets.values())))

    def _moved(self, name: str, value: Any) -> None:
        self.settings[name] = value
        if self._handle is not None:
            data, metadata = _bundle(self.figure)
            self._handle.update(data, raw=True, metadata=metadata)


def _bundle(drawing: Any) -> tuple[dict[str, str], dict[str, Any]]:
    if isinstance(drawing, Figure):
        return png_bundle(drawing, DPI)
    return {"text/html": drawing._repr_html_(), "text/plain": repr(drawing)}, {}


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
