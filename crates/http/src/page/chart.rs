//! Charts as SVG, made on the server: their colours are classes of `page.css`, so that light and dark are the reader's, and no style stands
//! in the page. Pure. The crates that draw charts write their colours and sizes into each shape, which the policy of our pages forbids
//! (docs/decisions/0022-pages.md).

use maud::{Markup, html};

use super::format;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 30.0;
const TICKS: usize = 4;

pub struct Series<'a> {
    pub name: &'a str,
    /// In the order of x; a gap where y is not finite.
    pub points: Vec<(f64, f64)>,
    /// Drawn as dashes: what the others are held against.
    pub is_baseline: bool,
}

pub struct Axes<'a> {
    /// What is drawn, for who cannot see it.
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
    pub x_text: fn(f64) -> String,
    /// The y axis begins at 0.
    pub from_zero: bool,
    /// x counts: there is nothing between 1 and 2.
    pub counts: bool,
}

/// From data to the picture.
#[derive(Clone, Copy)]
struct Scale {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Scale {
    fn at(self, value: f64) -> f64 {
        let width = self.to - self.from;
        // A range beyond what floats hold has no places in it.
        let share = if width > 0.0 && width.is_finite() { (value - self.from) / width } else { 0.5 };
        self.start + share * (self.end - self.start)
    }
}

/// Numbers between both ends at which a person would put marks, at most 2 × TICKS; none where there is no range.
fn ticks(from: f64, to: f64, counts: bool) -> Vec<f64> {
    let width = to - from;
    if !width.is_finite() || width <= 0.0 {
        return vec![from];
    }
    let rough = width / TICKS as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * power).find(|step| *step >= rough);
    let step = step.unwrap_or(10.0 * power);
    let step = if counts { step.max(1.0) } else { step };
    let first = (from / step).ceil();
    let marks = (0..=2 * TICKS).map(|index| (first + index as f64) * step);
    // At the end of what floats hold the bound is infinite, and the next mark is too.
    marks.take_while(|mark| mark.is_finite() && *mark <= to + step * 1e-9).collect()
}

fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let mut range: Option<(f64, f64)> = None;
    for value in values.filter(|value| value.is_finite()) {
        let (low, high) = range.unwrap_or((value, value));
        range = Some((low.min(value), high.max(value)));
    }
    range
}

/// A coordinate; more digits are no smoother.
fn at(value: f64) -> String {
    format!("{value:.1}")
}

fn frame(axes: &Axes<'_>, x: Scale, y: Scale, body: &Markup) -> Markup {
    html! {
        svg .chart viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(axes.title) {
            @for tick in ticks(y.from, y.to, false) {
                @let here = at(y.at(tick));
                line .grid x1=(at(LEFT)) x2=(at(WIDTH - RIGHT)) y1=(here) y2=(here) {}
                text .tick x=(at(LEFT - 8.0)) y=(here) dy="0.32em" text-anchor="end" { (format::number(tick)) }
            }
            @for tick in ticks(x.from, x.to, axes.counts) {
                text .tick x=(at(x.at(tick))) y=(at(HEIGHT - BOTTOM + 16.0)) text-anchor="middle" { ((axes.x_text)(tick)) }
            }
            line .axis x1=(at(LEFT)) x2=(at(WIDTH - RIGHT)) y1=(at(HEIGHT - BOTTOM)) y2=(at(HEIGHT - BOTTOM)) {}
            text .tick x=(at(WIDTH - RIGHT)) y=(at(HEIGHT - 2.0)) text-anchor="end" { (axes.x) }
            text .tick x="2" y="8" dy="0.3em" { (axes.y) }
            (body)
        }
    }
}

fn padded(from: f64, to: f64) -> (f64, f64) {
    let (from, to) = match to > from {
        true => (from - 0.05 * (to - from), to + 0.05 * (to - from)),
        // A flat line lies in the middle.
        false => (from - from.abs().max(1.0) * 0.1, to + to.abs().max(1.0) * 0.1),
    };
    (from.max(f64::MIN), to.min(f64::MAX))
}

fn scales(axes: &Axes<'_>, points: impl Iterator<Item = (f64, f64)> + Clone) -> Option<(Scale, Scale)> {
    let finite = points.filter(|(x, y)| x.is_finite() && y.is_finite());
    let (x_from, x_to) = range(finite.clone().map(|(x, _)| x))?;
    let (y_from, y_to) = range(finite.map(|(_, y)| y))?;
    let (mut y_from, mut y_to) = padded(y_from, y_to);
    if axes.from_zero {
        (y_from, y_to) = (0.0, if y_to > 0.0 { y_to } else { 1.0 });
    }
    let (x_from, x_to) = if x_to > x_from { (x_from, x_to) } else { (x_from - 0.5, x_to + 0.5) };
    let x = Scale { from: x_from, to: x_to, start: LEFT, end: WIDTH - RIGHT };
    let y = Scale { from: y_from, to: y_to, start: HEIGHT - BOTTOM, end: TOP };
    Some((x, y))
}

/// Nothing where there is no point. `marked`: the x of a line down the picture.
pub fn lines(axes: &Axes<'_>, series: &[Series<'_>], marked: Option<f64>) -> Markup {
    let points = series.iter().flat_map(|series| series.points.iter().copied());
    let Some((x, y)) = scales(axes, points) else { return html! {} };
    let body = html! {
        @if let Some(marked) = marked.filter(|marked| (x.from..=x.to).contains(marked)) {
            line .marked x1=(at(x.at(marked))) x2=(at(x.at(marked))) y1=(at(TOP)) y2=(at(HEIGHT - BOTTOM)) {}
        }
        @for (index, series) in series.iter().enumerate() {
            @for run in runs(&series.points) {
                @let path: Vec<String> = run.iter().map(|(px, py)| format!("{},{}", at(x.at(*px)), at(y.at(*py)))).collect();
                polyline class=(class(index, series.is_baseline)) points=(path.join(" ")) {}
            }
            @if series.points.len() <= 40 {
                @for (px, py) in series.points.iter().filter(|(px, py)| px.is_finite() && py.is_finite()) {
                    circle class={ "dot s" (index % 6) } cx=(at(x.at(*px))) cy=(at(y.at(*py))) r="3" {
                        title { (series.name) ": " (format::number(*py)) " at " ((axes.x_text)(*px)) }
                    }
                }
            }
        }
    };
    html! { figure { (frame(axes, x, y, &body)) (legend(series)) } }
}

fn class(index: usize, is_baseline: bool) -> String {
    format!("line s{}{}", index % 6, if is_baseline { " dashed" } else { "" })
}

/// Runs of points without a gap.
fn runs(points: &[(f64, f64)]) -> impl Iterator<Item = &[(f64, f64)]> {
    points.split(|(x, y)| !x.is_finite() || !y.is_finite()).filter(|run| run.len() > 1)
}

fn legend(series: &[Series<'_>]) -> Markup {
    html! {
        @if series.len() > 1 {
            figcaption .legend {
                @for (index, series) in series.iter().enumerate() {
                    span { span class={ "swatch s" (index % 6) } data-dashed[series.is_baseline] {} " " (series.name) }
                }
            }
        }
    }
}

/// One bar for each count between two edges. Nothing where the counts and edges do not fit each other.
pub fn histogram(title: &str, edges: &[f64], counts: &[f64], is_small: bool) -> Markup {
    let most = counts.iter().copied().fold(0.0, f64::max);
    let (Some(from), Some(to)) = (edges.first(), edges.last()) else { return html! {} };
    if edges.len() != counts.len() + 1 || most <= 0.0 {
        return html! {};
    }
    let (width, height, base) = if is_small { (200.0, 44.0, 44.0) } else { (WIDTH, 180.0, 156.0) };
    let step = width / counts.len() as f64;
    html! {
        svg .chart .small[is_small] viewBox={ "0 0 " (width) " " (height) } role="img" aria-label=(title) {
            @for (index, (count, pair)) in counts.iter().zip(edges.windows(2)).enumerate() {
                @let tall = count / most * (base - 4.0);
                rect .bar x=(at(index as f64 * step + 0.5)) width=(at((step - 1.0).max(0.5))) y=(at(base - tall)) height=(at(tall)) {
                    @if let [low, high] = pair { title { (format::number(*low)) " to " (format::number(*high)) ": " (format::number(*count)) } }
                }
            }
            @if !is_small {
                text .tick x="0" y=(at(base + 18.0)) { (format::number(*from)) }
                text .tick x=(at(width)) y=(at(base + 18.0)) text-anchor="end" { (format::number(*to)) }
            }
        }
    }
}

/// Bars lying on their side with their names and values, as a table: it needs no picture to be read. `spread`: half a bar's uncertainty.
pub fn bars(caption: &str, rows: &[(String, f64, Option<f64>)]) -> Markup {
    let most = rows.iter().map(|(_, value, _)| value.abs()).filter(|value| value.is_finite()).fold(0.0, f64::max);
    let share = |value: f64| if most > 0.0 { value.abs() / most * 100.0 } else { 0.0 };
    html! {
        table .bars {
            caption { (caption) }
            tbody {
                @for (name, value, spread) in rows {
                    tr {
                        th scope="row" { (name) }
                        td {
                            svg .meter viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
                                rect .bar .negative[*value < 0.0] x="0" y="0" height="8" width=(at(share(*value))) {}
                            }
                        }
                        td .num { (format::number(*value)) @if let Some(spread) = spread { span .muted { " ± " (format::number(*spread)) } } }
                    }
                }
            }
        }
    }
}

/// Points in groups; each group has a colour. `diagonal`: where both would be the same.
pub fn scatter(axes: &Axes<'_>, points: &[(f64, f64, usize)], groups: &[&str], diagonal: bool) -> Markup {
    let Some((mut x, mut y)) = scales(axes, points.iter().map(|(x, y, _)| (*x, *y))) else { return html! {} };
    if diagonal {
        let (from, to) = (x.from.min(y.from), x.to.max(y.to));
        (x.from, x.to, y.from, y.to) = (from, to, from, to);
    }
    let body = html! {
        @if diagonal { line .marked x1=(at(x.at(x.from))) y1=(at(y.at(y.from))) x2=(at(x.at(x.to))) y2=(at(y.at(y.to))) {} }
        @for (px, py, group) in points.iter().filter(|(x, y, _)| x.is_finite() && y.is_finite()) {
            circle class={ "point s" (group % 6) } cx=(at(x.at(*px))) cy=(at(y.at(*py))) r="2.5" {}
        }
    };
    let named: Vec<Series<'_>> =
        groups.iter().map(|name| Series { name, points: Vec::new(), is_baseline: false }).collect();
    html! { figure { (frame(axes, x, y, &body)) (legend(&named)) } }
}

/// Rows against columns; the fuller a cell, the darker, within its row.
pub fn matrix(caption: &str, names: &[String], cells: &[Vec<f64>]) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-label=(caption) {
            table .matrix {
                caption { (caption) }
                thead { tr { td {} @for name in names { th scope="col" { (name) } } } }
                tbody {
                    @for (name, row) in names.iter().zip(cells) {
                        @let total: f64 = row.iter().sum();
                        tr {
                            th scope="row" { (name) }
                            @for cell in row {
                                @let heat = if total > 0.0 { (cell / total * 5.0).round() } else { 0.0 };
                                td .num data-heat=(heat) { (format::number(*cell)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn axes() -> Axes<'static> {
        Axes { title: "t", x: "x", y: "y", x_text: format::number, from_zero: false, counts: false }
    }

    proptest! {
        #[test]
        fn any_points_are_drawn_within_the_picture(
            points in prop::collection::vec((any::<f64>(), any::<f64>()), 0..60),
            from_zero: bool,
        ) {
            let axes = Axes { from_zero, ..axes() };
            let series = [Series { name: "<s>", points: points.clone(), is_baseline: false }];
            let drawn = lines(&axes, &series, points.first().map(|(x, _)| *x)).into_string();
            prop_assert!(!drawn.contains("NaN") && !drawn.contains("inf") && !drawn.contains("<s>"), "{drawn}");
            let groups: Vec<(f64, f64, usize)> = points.iter().map(|(x, y)| (*x, *y, 1)).collect();
            let drawn = scatter(&axes, &groups, &["a", "b"], true).into_string();
            prop_assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
        }

        #[test]
        fn marks_lie_between_the_ends_and_are_few(from in -1e12f64..1e12, width in 1e-6f64..1e12) {
            let marks = ticks(from, from + width, false);
            prop_assert!(marks.len() <= 2 * TICKS + 1);
            prop_assert!(marks.iter().all(|mark| *mark >= from - width * 1e-3 && *mark <= from + width * 1.001), "{marks:?}");
        }
    }

    #[test]
    fn marks_end_where_floats_do() {
        for (from, to) in [(1.6136604413945989e308, f64::MAX), (f64::MIN, -1.6136604413945989e308)] {
            let marks = ticks(from, to, false);
            assert!(!marks.is_empty() && marks.iter().all(|mark| (from..=to).contains(mark)), "{marks:?}");
        }
    }

    #[test]
    fn a_histogram_has_a_bar_for_each_count() {
        let drawn = histogram("ages", &[0.0, 1.0, 2.0], &[1.0, 3.0], false).into_string();
        assert_eq!(drawn.matches("<rect").count(), 2);
        assert!(histogram("none", &[0.0], &[1.0], false).into_string().is_empty());
        assert!(histogram("empty", &[0.0, 1.0], &[0.0], true).into_string().is_empty());
    }
}
