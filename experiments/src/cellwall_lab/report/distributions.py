"""The figures without a time axis: arms side by side, membership sizes, customers.

Decides what they show of the judged window. Reads only the view (invariant I5); a figure whose data is
missing says so and nothing breaks.
"""

from __future__ import annotations

from collections.abc import Sequence

from .canvas import CUT_TEXT, ERRORS, FONT_PT, HAIR, INK, OUT, PAPER, label, percent_axis, sheet
from .embed import framed, key, nothing, svg
from .view import ArmView, Points, percent, xy


def arms(views: Sequence[ArmView]) -> str:
    """All arms on one scale: dots are means over the judged window, bars their lowest and highest 5 s."""
    shown = [view for view in views if view.out_stuck is not None or view.errors_stuck is not None]
    if not shown:
        return nothing("Arms side by side")
    figure, (axes,) = sheet(34 + 27 * len(shown), top_pt=4, left_pt=8 + 5.2 * max(len(view.name) for view in shown))
    axes.grid(False)
    for share in (0, 0.25, 0.5, 0.75, 1):
        axes.axvline(share, color=HAIR, linewidth=0.6, zorder=0)
    for row, view in enumerate(shown):
        for mean, span, colour, dy in (
            (view.out_stuck, view.out_range, OUT, -0.16),
            (view.errors_stuck, view.errors_range, ERRORS, 0.16),
        ):
            if mean is None:
                continue
            if span:
                axes.plot(span, [row + dy] * 2, color=colour, linewidth=2.4, alpha=0.45)
            axes.plot([mean], [row + dy], "o", color=colour, markersize=5.5, markeredgecolor=PAPER, markeredgewidth=0.8)
            right = max(mean, span[1] if span else 0) + 0.02
            axes.text(right, row + dy, percent(mean), color=colour, va="center", fontsize=FONT_PT - 0.5)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(0, 1.1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100 %"])
    axes.set_yticks(range(len(shown)), [view.name for view in shown])
    axes.tick_params(axis="y", labelcolor=INK)
    text = "; ".join(
        f"{v.name}: {percent(v.out_stuck)} of servers out, {percent(v.errors_stuck)} of requests failed" for v in shown
    )
    colours = key(("out", "dot", "servers out"), ("errors", "dot", "requests failed"))
    caption = f"<figcaption>{colours}<span>in the judged window; bars: lowest and highest 5 s</span></figcaption>"
    return f"<figure>{caption}{svg(figure, 'arms', 'Arms side by side in the judged window', text)}</figure>"


def sizes(view: ArmView) -> str:
    """Membership size against the time a renewal took, healthy and stuck; servers that got none stand on top."""
    title = "Membership size and retrieval time."
    if not view.sizes_clean and not view.sizes_stuck:
        return framed(view.name, title, nothing(title))
    figure, (axes,) = sheet(190, top_pt=12)
    limit = view.time_limit_s or max(y for _, y in [*view.sizes_clean, *view.sizes_stuck]) or 1.0
    for points, colour in ((view.sizes_clean, ERRORS), (view.sizes_stuck, OUT)):
        axes.scatter(*xy(_thin(points, limit)), s=5, color=colour, alpha=0.55, linewidth=0)
    lost = sorted({round(size / 25) * 25.0 for size in view.sizes_failed})
    axes.scatter(lost, [limit * 1.1] * len(lost), s=14, color=OUT, marker="|", linewidth=0.9)
    right = max([view.largest_records, *(x for x, _ in [*view.sizes_clean, *view.sizes_stuck]), *lost]) * 1.03
    axes.set_xlim(0, right)
    axes.set_ylim(0, limit * 1.32)
    axes.set_yticks([0, limit / 2, limit], ["0", f"{limit / 2:g}", f"{limit:g} s"])
    axes.axhline(limit, color=INK, linewidth=0.9)
    label(axes, right, limit, "time limit", INK, va="top", ha="right", dy_pt=-2)
    if lost:
        label(axes, right, limit * 1.17, "none in the judged window", OUT, ha="right")
    if view.size_cut is not None:
        axes.axvline(view.size_cut, color=CUT_TEXT, linewidth=0.9, dashes=(4, 2))
        label(axes, view.size_cut, limit * 0.62, f"cut-off: {view.size_cut:,.0f} records", CUT_TEXT, dx_pt=4)
    axes.set_xlabel("records in the membership", loc="left", labelpad=2)
    note = ""
    if view.size_cut is not None:
        note = f"A membership larger than about {view.size_cut:,.0f} records seldom arrives within {limit:g} s."
    colours = key(("errors", "dot", "healthy"), ("out", "dot", "judged window"))
    return framed(view.name, note, svg(figure, f"sizes-{view.name}", f"{view.name}: {title}", note or title), colours)


def _thin(points: Points, limit: float) -> Points:
    """At most one point per spot of about two units, so that a figure's size does not grow with the run's."""
    right = max((x for x, _ in points), default=1.0)
    spots = {(round(150 * x / right), round(80 * y / limit)): (x, y) for x, y in points}
    kept = list(spots.values())
    return kept[:: max(1, len(kept) // 400)]


def customers(view: ArmView) -> str:
    """Each customer's share of failed requests in the stuck window, worst first."""
    title = "Failed requests by customer."
    if not view.customers:
        return framed(view.name, title, nothing(title, "no requests in the judged window"))
    figure, (axes,) = sheet(150, top_pt=10)
    shares = sorted((share for _, share, _ in view.customers), reverse=True)
    spots = [k / len(shares) for k in range(len(shares) + 1)]
    axes.fill_between(spots, [*shares, shares[-1]], color=ERRORS, alpha=0.25, linewidth=0, step="post")
    axes.plot(spots, [*shares, shares[-1]], color=ERRORS, linewidth=1.3, drawstyle="steps-post")
    percent_axis(axes)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100 %"])
    axes.set_xlabel("customers, worst first", loc="left", labelpad=2)
    touched = sum(share > 0.01 for share in shares) / len(shares)
    half = sum(share >= 0.5 for share in shares) / len(shares)
    note = f"{percent(touched)} of {len(shares)} customers lost more than 1 % of their requests, "
    note += f"{percent(half)} lost half or more."
    return framed(view.name, note, svg(figure, f"customers-{view.name}", f"{view.name}: {title}", note))
