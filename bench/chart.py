"""Plots as SVG, readable on a light and on a dark page."""
import html
import math

WIDTH, HEIGHT = 960, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 84, 52
STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-size: 16px; font-weight: 600 }
.value { font-size: 10px; text-anchor: middle }
.middle { text-anchor: middle }
.end { text-anchor: end }
.grid { stroke: #d0d7de; stroke-width: 1 }
.axis { stroke: #57606a; stroke-width: 1 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.grid { stroke: #30363d }
.axis { stroke: #8b949e }
}
</style>"""
# Both groups stay apart in grey and on both pages: blues and oranges of medium lightness.
BLUES = ["#1f6feb", "#4393f8", "#79b8ff", "#0a4fb3", "#3fa7c4"]
ORANGES = ["#bc4c00", "#e16f24", "#f5a15c"]
GREY = "#8c959f"


def text(x, y, words, kind="", turn=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}"{turn}>{html.escape(words)}</text>'


def short(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def ticks(most):
    """About five round numbers from 0 to `most` or just above."""
    step = 10 ** math.floor(math.log10(most / 5))
    step *= next(factor for factor in (1, 2, 5, 10) if most / (step * factor) <= 5)
    return [number * step for number in range(math.ceil(most / step) + 1)]


def legend(entries):
    """Colours and names in rows below the title."""
    parts, x, y = [], LEFT, 46
    for name, colour in entries:
        width = 26 + 7 * len(name)
        if x + width > WIDTH - RIGHT:
            x, y = LEFT, y + 18
        parts.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{colour}"/>')
        parts.append(text(x + 14, y, name))
        x += width
    return parts


def frame(title, axes, most):
    """Title, axes and grid; returns the parts and the function from a value to its height on the page."""
    top = ticks(most)[-1]
    bottom = HEIGHT - BOTTOM

    def place(value):
        return bottom - (bottom - TOP) * value / top

    across, up = axes
    parts = [text(LEFT, 24, title, "title"), text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, across, "middle")]
    parts.append(text(0, 0, up, "middle", f' transform="translate(16 {(TOP + bottom) / 2:.0f}) rotate(-90)"'))
    for value in ticks(most):
        line = f'x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place(value):.1f}" y2="{place(value):.1f}"'
        parts.append(f'<line class="{"grid" if value else "axis"}" {line}/>')
        parts.append(text(LEFT - 8, place(value) + 4, short(value), "end"))
    return parts, place


def write(path, title, parts):
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">'
    path.write_text("\n".join([head, STYLE, *parts, "</svg>"]) + "\n", encoding="utf-8")


def bars(path, title, axes, groups, colours):
    """Grouped bars. `groups`: [(name, {series: value})]; `colours`: {series: colour}, in the order of the bars."""
    values = [value for _, series in groups for value in series.values()]
    parts, place = frame(title, axes, max(values))
    parts += legend(colours.items())
    room = (WIDTH - LEFT - RIGHT) / len(groups)
    for number, (name, series) in enumerate(groups):
        present = [(key, series[key]) for key in colours if key in series]
        width = min(room * 0.86 / len(present), 48)
        x = LEFT + room * (number + 0.5) - width * len(present) / 2
        for key, value in present:
            height = place(0) - place(value)
            parts.append(f'<rect x="{x + 1:.1f}" y="{place(value):.1f}" width="{width - 2:.1f}" height="{height:.1f}" fill="{colours[key]}"/>')
            parts.append(text(x + width / 2, place(value) - 4, short(value), "value"))
            x += width
        parts.append(text(LEFT + room * (number + 0.5), HEIGHT - BOTTOM + 18, name, "middle"))
    write(path, title, parts)


def lines(path, title, axes, places, series, colours):
    """Lines over places that lie evenly apart. `series`: {name: [value of each place]}."""
    parts, place = frame(title, axes, max(max(values) for values in series.values()))
    parts += legend(colours.items())
    room = (WIDTH - LEFT - RIGHT) / len(places)
    across = [LEFT + room * (number + 0.5) for number in range(len(places))]
    for x, name in zip(across, places):
        parts.append(text(x, HEIGHT - BOTTOM + 18, str(name), "middle"))
    for name, values in series.items():
        points = " ".join(f"{x:.1f},{place(value):.1f}" for x, value in zip(across, values))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colours[name]}" stroke-width="2"/>')
        for x, value in zip(across, values):
            parts.append(f'<circle cx="{x:.1f}" cy="{place(value):.1f}" r="3" fill="{colours[name]}"/>')
        parts.append(text(across[-1] + 6, place(values[-1]) - 6, short(values[-1]), "value"))
    write(path, title, parts)
