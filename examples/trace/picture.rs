//! A piece of a trace as a drawing: a band for each track, around the moment of a retake, and the
//! moment itself, enlarged.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::Result;

const LEFT: f64 = 96.0;
const WIDTH: f64 = 704.0;
const TOP: f64 = 44.0;
const BAND: f64 = 26.0;
const PITCH: f64 = 48.0;
/// Between the two panels.
const GAP: f64 = 46.0;

/// How much time there is before the retake and in all, and between two lines; in microseconds.
const OVERVIEW: Span = Span { before: 12_000.0, length: 24_000.0, grid: 4_000.0 };
const DETAIL: Span = Span { before: 300.0, length: 1_600.0, grid: 200.0 };

const NAMES: [&str; 4] = ["client", "connection", "worker", "accept"];
const MARKS: [&str; 5] = ["steal", "retake", "park", "netpoll", "timers"];

/// Its rules hold inside of the picture only, for it also stands in the middle of pages.
const STYLE: &str = "
.gort-trace text { font: 12px system-ui, sans-serif; fill: #24292f }
.gort-trace .faint { fill: #59636e; font-size: 11px }
.gort-trace .why { font-size: 9px; fill: #1f2328 }
.gort-trace .middle { text-anchor: middle }
.gort-trace .end { text-anchor: end }
.gort-trace .band { fill: #8c959f; fill-opacity: .12 }
.gort-trace .zoom { fill: #8c959f; fill-opacity: .16 }
.gort-trace .grid { stroke: #8c959f; stroke-opacity: .3 }
.gort-trace .client { fill: #54aeff } .gort-trace .connection { fill: #4ac26b } .gort-trace .worker { fill: #e16f24 } .gort-trace .accept { fill: #a475f9 }
.gort-trace .steal { stroke: #8250df; stroke-width: 1.6 } .gort-trace .retake { stroke: #d1242f; stroke-width: 2.4 } .gort-trace .park { stroke: #57606a; stroke-width: 1.6 }
.gort-trace .netpoll { stroke: #0969da } .gort-trace .timers { stroke: #bf8700 }
.gort-trace .wake { stroke: #8c959f; stroke-opacity: .55; stroke-width: .7 }
@media (prefers-color-scheme: dark) {
.gort-trace text { fill: #e6edf3 }
.gort-trace .faint { fill: #9198a1 }
.gort-trace .why { fill: #1f2328 }
}
";

/// A stretch of time.
#[derive(Clone, Copy)]
struct Span {
    before: f64,
    length: f64,
    grid: f64,
}

/// A stretch of time as bands.
struct Panel<'a> {
    events: &'a [Value],
    /// The tracks, and the rows that they have in both panels.
    tracks: &'a BTreeMap<u64, usize>,
    from: f64,
    span: Span,
    top: f64,
}

/// Draws the trace `json`.
pub(crate) fn draw(json: &str) -> Result<String> {
    let whole: Value = serde_json::from_str(json)?;
    let events = whole["traceEvents"].as_array().ok_or("no events")?;
    let retake = events.iter().find(|e| e["name"] == "retake").ok_or("no retake: try again")?;
    let retake = number(&retake["ts"]);
    let tracks = tracks(events, retake - OVERVIEW.before, OVERVIEW.length);
    let panel_height = PITCH * tracks.len() as f64;
    let panel =
        |span: Span, top| Panel { events, tracks: &tracks, from: retake - span.before, span, top };
    let (overview, detail) = (panel(OVERVIEW, TOP), panel(DETAIL, TOP + panel_height + GAP));
    let height = detail.top + panel_height + 24.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 832 {height}\" width=\"832\" \
         height=\"{height}\" class=\"gort-trace\" role=\"img\">\n<title>A trace: what runs on each P, and beside \
         them</title>\n<style>{STYLE}</style>\n"
    );
    legend(&mut svg)?;
    magnifier(&mut svg, &overview, &detail)?;
    overview.draw(&mut svg, "ms", 1000.0)?;
    detail.draw(&mut svg, "µs", 1.0)?;
    svg += "</svg>\n";
    Ok(svg)
}

impl Panel<'_> {
    fn draw(&self, svg: &mut String, unit: &str, micros: f64) -> Result<()> {
        for (tid, row) in self.tracks {
            let y = self.y(*row);
            let title = title(*tid);
            writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" class=\"end\">{title}</text>",
                LEFT - 8.0,
                y + 17.0
            )?;
            writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{BAND}\" class=\"band\"/>"
            )?;
        }
        self.grid(svg, unit, micros)?;
        for event in self.events {
            let Some(row) = event["tid"].as_u64().and_then(|tid| self.tracks.get(&tid)) else {
                continue;
            };
            match event["ph"].as_str() {
                Some("X") => self.slice(svg, event, self.y(*row))?,
                Some("i") => self.mark(svg, event, self.y(*row))?,
                _ => {}
            }
        }
        if self.span.length < OVERVIEW.length { self.arrows(svg) } else { Ok(()) }
    }

    fn slice(&self, svg: &mut String, event: &Value, y: f64) -> Result<()> {
        let name = event["name"].as_str().unwrap_or_default();
        let begin = number(&event["ts"]);
        let (x, end) = (self.x(begin), self.x(begin + number(&event["dur"])));
        let (x, end) = (x.max(LEFT), end.min(LEFT + WIDTH));
        if x >= end || !NAMES.contains(&name) {
            return Ok(());
        }
        let width = (end - x).max(0.6);
        writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAND}\" class=\"{name}\"/>"
        )?;
        let why = event["args"]["end"].as_str().unwrap_or_default();
        if width > 4.6 * why.len() as f64 + 6.0 {
            let (x, y) = (end - 3.0, y + 16.0);
            writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\" class=\"why end\">{why}</text>")?;
        }
        Ok(())
    }

    fn mark(&self, svg: &mut String, event: &Value, y: f64) -> Result<()> {
        let name = event["name"].as_str().unwrap_or_default();
        let x = self.x(number(&event["ts"]));
        let in_vain = event["args"]["ready"] == 0;
        if MARKS.contains(&name) && is_inside(x) && !in_vain {
            writeln!(svg, "<path class=\"{name}\" d=\"M{x:.1} {}v9\"/>", y + BAND + 2.0)?;
        }
        Ok(())
    }

    /// From a wake to what follows, elsewhere.
    fn arrows(&self, svg: &mut String) -> Result<()> {
        let place = |e: &Value| {
            let row = self.tracks.get(&e["tid"].as_u64()?)?;
            Some((self.x(number(&e["ts"])), self.y(*row) + BAND / 2.0))
        };
        let begins = self.events.iter().filter(|e| e["ph"] == "s");
        let begins: BTreeMap<_, _> = begins.map(|e| (e["id"].as_u64(), place(e))).collect();
        for end in self.events.iter().filter(|e| e["ph"] == "f") {
            let begin = begins.get(&end["id"].as_u64()).copied().flatten();
            if let (Some((x, y)), Some((to_x, to_y))) = (begin, place(end))
                && is_inside(x)
                && is_inside(to_x)
                && y != to_y
            {
                writeln!(svg, "<path class=\"wake\" d=\"M{x:.1} {y}L{to_x:.1} {to_y}\"/>")?;
            }
        }
        Ok(())
    }

    /// Lines, and the time since the first of them, which is the beginning of the panel.
    fn grid(&self, svg: &mut String, unit: &str, micros: f64) -> Result<()> {
        let bottom = self.bottom();
        for i in 0..=(self.span.length / self.span.grid) as u32 {
            let at = self.span.grid * f64::from(i);
            let (x, time) = (self.x(self.from + at), (at - self.span.before) / micros);
            writeln!(svg, "<path class=\"grid\" d=\"M{x:.1} {}V{bottom}\"/>", self.top - 8.0)?;
            writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{}\" class=\"faint middle\">{time:+} {unit}</text>",
                bottom + 13.0
            )?;
        }
        Ok(())
    }

    fn x(&self, micros: f64) -> f64 {
        LEFT + WIDTH * (micros - self.from) / self.span.length
    }

    fn y(&self, row: usize) -> f64 {
        self.top + PITCH * row as f64
    }

    fn bottom(&self) -> f64 {
        self.y(self.tracks.len()) - 8.0
    }
}

/// The tracks on which something runs in this time, and their rows.
fn tracks(events: &[Value], from: f64, length: f64) -> BTreeMap<u64, usize> {
    let inside = |e: &&Value| {
        let begin = number(&e["ts"]) - from;
        let shown = e["name"].as_str().is_some_and(|name| NAMES.contains(&name));
        e["ph"] == "X" && begin < length && begin + number(&e["dur"]) > 0.0 && shown
    };
    let tracks = events.iter().filter(inside).filter_map(|e| Some((e["tid"].as_u64()?, 0)));
    let mut tracks: BTreeMap<u64, usize> = tracks.collect();
    tracks.values_mut().zip(0..).for_each(|(row, i)| *row = i);
    tracks
}

/// Which part of the overview the detail is.
fn magnifier(svg: &mut String, overview: &Panel<'_>, detail: &Panel<'_>) -> Result<()> {
    let (x, end) = (overview.x(detail.from), overview.x(detail.from + detail.span.length));
    let (top, bottom) = (overview.top - 8.0, overview.bottom());
    let (left, right, below) = (LEFT, LEFT + WIDTH, detail.top - 8.0);
    writeln!(
        svg,
        "<path class=\"zoom\" d=\"M{x:.1} {top}H{end:.1}V{bottom}L{right} {below}H{left}L{x:.1} {bottom}Z\"/>"
    )?;
    Ok(())
}

fn legend(svg: &mut String) -> Result<()> {
    let mut x = LEFT;
    for name in NAMES {
        writeln!(svg, "<rect x=\"{x}\" y=\"8\" width=\"12\" height=\"12\" class=\"{name}\"/>")?;
        writeln!(svg, "<text x=\"{}\" y=\"18\">{name}</text>", x + 17.0)?;
        x += 34.0 + 7.0 * name.len() as f64;
    }
    for name in MARKS {
        writeln!(svg, "<path class=\"{name}\" d=\"M{} 9v10\"/>", x + 6.0)?;
        writeln!(svg, "<text x=\"{}\" y=\"18\">{name}</text>", x + 12.0)?;
        x += 30.0 + 7.0 * name.len() as f64;
    }
    Ok(())
}

fn title(tid: u64) -> String {
    if tid < 10_000 { format!("P {tid}") } else { format!("M {}, no P", tid - 10_000) }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}

fn is_inside(x: f64) -> bool {
    (LEFT..LEFT + WIDTH).contains(&x)
}
