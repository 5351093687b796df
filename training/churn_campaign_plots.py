"""Pictures of what a campaign would bring, and of how the recipe did at cut-off after cut-off."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from matplotlib.figure import Figure

from training.churn_backtest import ChurnBacktest
from training.churn_report import ChurnFigures, ChurnReport
from training.contact_curve import ContactCurve
from training.plotting import COLOURS, OURS_COLOUR, new_figure, png, shown_model

__all__ = ["backtest_png", "contacts_figure", "contacts_png"]

_WORTH = (2, 5, 10)  # how many offers keeping a leaver may be worth, where nobody has said


def contacts_png(report: ChurnReport) -> bytes:
    """Leavers reached against loyal customers bothered at every cut-off, and the profit."""
    return png(contacts_figure(report.contacts, report.contacts_by_gain))


def contacts_figure(curve: ContactCurve, by_gain: ContactCurve | None) -> Figure:
    """The same before it is drawn; the legends stand below the axes, where no curve can run under them."""
    figure, (people, profit) = new_figure(11, 5.4, 2)
    shares = [0.0, *(100 * row.share for row in curve.rows)]
    reached, bothered = ([0, *(getattr(row, name) for row in curve.rows)] for name in _PEOPLE)
    people.stackplot(
        shares, reached, bothered, colors=("#2f6f9f", "#e3c9a8"), labels=("leavers reached", "loyal bothered")
    )
    expected = [0.0, *(row.leavers_expected for row in curve.rows)]
    people.plot(shares, expected, color="black", linestyle="--", linewidth=1.2, label="leavers expected")
    people.set(xlabel="% of the customers contacted, riskiest first", ylabel="customers", xlim=(0, 100))
    people.set_ylim(bottom=0)
    people.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    people.set_title("Leavers reached, loyal customers bothered")
    if math.isfinite(curve.rows[0].profit):
        _profit(profit, curve, by_gain, shares)
    else:
        _profit_in_offers(profit, curve, shares)
    profit.axhline(0.0, color="grey", linestyle=":")
    profit.set(xlabel="% of the customers contacted, riskiest first", xlim=(0, 100))
    for axes in (people, profit):
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False)
    return figure


def backtest_png(backtest: ChurnBacktest) -> bytes:
    """AUC beside the baselines, and said beside happened, over the cut-offs."""
    figure, (area, level) = new_figure(11, 4.8, 2)
    reports = backtest.reports
    days = [datetime.fromtimestamp(report.as_of_us / 1e6, UTC) for report in reports]
    for place, name in enumerate(figures.model for figures in reports[0].figures):
        rows = [_of(report, name) for report in reports]
        style: dict[str, Any] = {"color": COLOURS[place % len(COLOURS)], "label": shown_model(name), "marker": "o"}
        if place == 0:
            low = [row.auc - row.auc_interval.low for row in rows]
            high = [row.auc_interval.high - row.auc for row in rows]
            area.errorbar(days, [row.auc for row in rows], yerr=[low, high], capsize=2, linewidth=2.2, **style)
        else:
            area.plot(days, [row.auc for row in rows], linewidth=1.3, markersize=4, **style)
    expected = [report.estimate.of("auc").expected for report in reports]
    area.plot(days, expected, color=OURS_COLOUR, linestyle=":", label="this model, estimated without labels")
    area.set(ylabel="AUC", title="Telling leavers from stayers")
    level.plot(days, [report.base_rate for report in reports], color="#444444", marker="o", label="left")
    said = [report.figures[0].mean_probability for report in reports]
    level.plot(days, said, color=OURS_COLOUR, marker="D", label="said to leave, on average")
    level.plot(
        days, [report.figures[0].ece for report in reports], color="#c2571a", marker="s", label="calibration error"
    )
    level.set(ylabel="share of the customers", ylim=(0, 1), title="Said and happened")
    for axes in (area, level):
        axes.set_xticks(days, [f"{day:%Y-%m-%d}" for day in days], rotation=45, ha="right", fontsize=8)
        axes.legend(loc="best", fontsize=8.5)
    return png(figure)


_PEOPLE = ("leavers_reached", "loyal_bothered")


def _profit(axes: Any, curve: ContactCurve, by_gain: ContactCurve | None, shares: list[float]) -> None:
    for name, label, style in (("profit", "as it turned out", "-"), ("profit_expected", "by the probabilities", "--")):
        values = [0.0, *(getattr(row, name) for row in curve.rows)]
        axes.plot(shares, values, color=OURS_COLOUR, linestyle=style, label=label)
    if by_gain is not None:
        values = [0.0, *(row.profit for row in by_gain.rows)]
        axes.plot(shares, values, color=COLOURS[2], label="as it turned out, by expected gain")
    best = curve.best
    axes.scatter([100 * best.share], [best.profit], color=COLOURS[1], zorder=6, label=f"best: {best.share:.0%}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set(ylabel="profit, minor units", title="Profit")


def _profit_in_offers(axes: Any, curve: ContactCurve, shares: list[float]) -> None:
    """No costs are set: profit for several answers to how many offers it is worth to reach one leaver."""
    for place, worth in enumerate(_WORTH):
        values = [0.0, *(worth * row.leavers_reached - row.n_contacted for row in curve.rows)]
        axes.plot(shares, values, color=COLOURS[place], label=f"a leaver is worth {worth} offers")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set(ylabel="profit, in costs of an offer", title="Profit, if reaching ...")


def _of(report: ChurnReport, name: str) -> ChurnFigures:
    return next(figures for figures in report.figures if figures.model == name)
