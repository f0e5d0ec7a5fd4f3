//! A bar chart of ratios, as SVG.

use std::fmt::Write;

const LEFT: usize = 110;
const ROW: usize = 22;
const UNIT: f64 = 120.0;
const MOST: f64 = 5.0;

/// Horizontal bars; a line stands at 1. A bar beyond the chart's end is cut and says its number.
pub fn bars(title: &str, bars: &[(String, f64)]) -> String {
    let width = LEFT + (MOST * UNIT) as usize + 60;
    let height = 50 + ROW * bars.len();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n<text x=\"10\" y=\"22\" font-size=\"15\">{title}</text>\n"
    );
    for (row, (name, ratio)) in bars.iter().enumerate() {
        let y = 36 + row * ROW;
        let length = ratio.clamp(0.0, MOST) * UNIT;
        let colour = if *ratio >= 1.0 { "#2a7a4b" } else { "#b5542b" };
        _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>\n\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.0}\" height=\"{}\" fill=\"{colour}\"/>\n\
             <text x=\"{:.0}\" y=\"{}\">{ratio:.2}</text>",
            LEFT - 8,
            y + 14,
            ROW - 5,
            LEFT as f64 + length + 5.0,
            y + 14
        );
    }
    let one = LEFT + UNIT as usize;
    _ = writeln!(svg, "<line x1=\"{one}\" y1=\"30\" x2=\"{one}\" y2=\"{height}\" stroke=\"black\" stroke-dasharray=\"3 3\"/>\n</svg>");
    svg
}
