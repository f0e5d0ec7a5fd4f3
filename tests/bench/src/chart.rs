//! A bar chart of ratios, as SVG.

use std::fmt::Write;

const LEFT: usize = 90;
const TOP: usize = 58;
/// Pixels for a whole bar, and for a ratio of 1.
const LENGTH: f64 = 600.0;
const UNIT: f64 = 100.0;
const BAR: usize = 12;
const COLOURS: [&str; 3] = ["#2a6f97", "#c9772b", "#5f7d3a"];

/// A group of bars for each row, one for each of the series that has a ratio there. A line stands at 1; a bar beyond the chart's end is cut and
/// says its number.
pub fn bars(title: &str, series: &[&str], rows: &[(String, Vec<Option<f64>>)]) -> String {
    let row = BAR * series.len() + 8;
    let (width, height) = (LEFT + LENGTH as usize + 50, TOP + row * rows.len());
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n<text x=\"10\" y=\"20\" font-size=\"15\">{title}</text>\n"
    );
    let colour = |index: usize| COLOURS[index % COLOURS.len()];
    for (index, name) in series.iter().enumerate() {
        let x = LEFT + index * 120;
        _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"32\" width=\"{BAR}\" height=\"{BAR}\" fill=\"{}\"/><text x=\"{}\" y=\"42\">{name}</text>",
            colour(index),
            x + BAR + 5
        );
    }
    for (number, (name, ratios)) in rows.iter().enumerate() {
        let y = TOP + number * row;
        _ = writeln!(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>", LEFT - 8, y + row / 2 + 2);
        for (index, ratio) in ratios.iter().enumerate() {
            let (Some(ratio), y) = (ratio, y + index * BAR) else { continue };
            let length = (ratio * UNIT).clamp(0.0, LENGTH);
            _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.0}\" height=\"{}\" fill=\"{}\"/><text x=\"{:.0}\" y=\"{}\">{ratio:.2}</text>",
                BAR - 1,
                colour(index),
                LEFT as f64 + length + 5.0,
                y + BAR - 2
            );
        }
    }
    let one = LEFT + UNIT as usize;
    _ = writeln!(
        svg,
        "<line x1=\"{one}\" y1=\"{}\" x2=\"{one}\" y2=\"{height}\" stroke=\"black\" stroke-dasharray=\"3 3\"/>\n</svg>",
        TOP - 4
    );
    svg
}
