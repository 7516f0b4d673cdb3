"""Panels of one look: what they show, in which unit, and the queries behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import (
    GraphGradientMode,
    HeatmapCellLayout,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Panel,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
QUANTILES = ("0.5", "0.9", "0.99")
VM_VARIABLES = (
    ("instance", "label_values(avmm_vm_info, instance)"),
    ("vm", 'label_values(avmm_vm_info{instance="$instance"}, vm)'),
)
"""The choice of one VM: those of different processes may have one name."""
ONE_VM = 'instance="$instance", vm="$vm"'
Query = tuple[str, str]
"""An expression, and the legend of its series."""


Panels = Sequence[Builder[Panel]]
"""The panels of one row."""


def rate(metric: str, where: str, by: str = "") -> str:
    """A counter a second, summed by the labels `by` where there are any."""
    each = f"rate({metric}{{{where}}}[$__rate_interval])"
    return f"sum by ({by}) ({each})" if by else each


def rates(metric: str, where: str, label: str) -> Query:
    """A counter a second for each value of a label."""
    return rate(metric, where, label), f"{{{{{label}}}}}"


def quantile(q: str, histogram: str, where: str, by: str = "") -> str:
    """A quantile of a histogram in seconds."""
    return f"histogram_quantile({q}, {rate(f'{histogram}_bucket', where, f'{by}, le' if by else 'le')})"


def quantiles(histogram: str, where: str) -> list[Query]:
    """The usual quantiles of a histogram."""
    return [(quantile(q, histogram, where), f"p{float(q) * 100:.0f}") for q in QUANTILES]


def _queries(queries: Sequence[Query]) -> list[prometheus.Dataquery]:
    return [
        prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(ref).range().datasource(SOURCE)
        for ref, (expression, legend) in zip(ascii_uppercase, queries, strict=False)
    ]


def graph(title: str, help_: str, unit: str, *queries: Query, stacked: bool = False, width: int = 8) -> timeseries.Panel:
    """Lines over time, or areas one on another."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(help_)
        .unit(unit)
        .min(0)
        .span(width)
        .height(8)
        .datasource(SOURCE)
        .line_width(1)
        .fill_opacity(40 if stacked else 8)
        .gradient_mode(GraphGradientMode.OPACITY)
        .show_points(VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    for query in _queries(queries):
        panel = panel.with_target(query)
    return panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL)) if stacked else panel


def heat(title: str, help_: str, histogram: str, where: str, *, width: int = 8) -> heatmap.Panel:
    """A histogram over time, with its examples where Prometheus keeps them."""
    query = _queries([(rate(f"{histogram}_bucket", where, "le"), "{{le}}")])[0]
    return (
        heatmap.Panel()
        .title(title)
        .description(help_)
        .span(width)
        .height(8)
        .datasource(SOURCE)
        .calculate(calculate=False)
        .cell_gap(1)
        .y_axis(heatmap.YAxisConfig().unit("s"))
        .rows_frame(heatmap.RowsHeatmapOptions().layout(HeatmapCellLayout.AUTO))
        .show_legend()
        .with_target(query.format(PromQueryFormat.HEATMAP).exemplar(exemplar=True))
    )


def number(title: str, help_: str, unit: str, expression: str, *, width: int = 4) -> stat.Panel:
    """One number, as it is now."""
    query = _queries([(expression, "")])[0]
    return stat.Panel().title(title).description(help_).unit(unit).span(width).height(4).datasource(SOURCE).with_target(query)


def listing(title: str, help_: str, expression: str, *, width: int = 24) -> table.Panel:
    """A table of labels."""
    query = _queries([(expression, "")])[0].format(PromQueryFormat.TABLE).instant()
    return table.Panel().title(title).description(help_).span(width).height(8).datasource(SOURCE).with_target(query)


def board(uid: str, title: str, help_: str, *variables: tuple[str, str]) -> dashboard.Dashboard:
    """An empty dashboard with a choice of data source, and of a label's values for each of `variables`."""
    made = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(help_)
        .tags(["avmm"])
        .refresh("10s")
        .time("now-15m", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .with_variable(dashboard.DatasourceVariable("source").label("Data source").type("prometheus"))
        .link(
            dashboard.DashboardLink("avmm")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["avmm"])
            .as_dropdown(as_dropdown=True)
            .include_vars(include_vars=True)
            .keep_time(keep_time=True)
        )
    )
    for name, query in variables:
        made = made.with_variable(
            dashboard.QueryVariable(name)
            .query(query)
            .datasource(SOURCE)
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(VariableSort.NATURAL_ASC)
        )
    return made


def with_rows(made: dashboard.Dashboard, rows: Mapping[str, Panels]) -> dashboard.Dashboard:
    """`made` with further rows of panels, by their titles."""
    for title, panels in rows.items():
        made = made.with_row(dashboard.Row(title))
        for panel in panels:
            made = made.with_panel(panel)
    return made
