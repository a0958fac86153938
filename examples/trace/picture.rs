//! A piece of a trace as a drawing: a band for each track, around the moment of a retake.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::Result;

const LEFT: f64 = 96.0;
const WIDTH: f64 = 704.0;
const TOP: f64 = 44.0;
const BAND: f64 = 26.0;
const PITCH: f64 = 52.0;
/// Before and after the retake, in microseconds.
const BEFORE: f64 = 11_500.0;
const LENGTH: f64 = 32_000.0;
/// Every so many microseconds there is a line.
const GRID: f64 = 4_000.0;

const NAMES: [&str; 4] = ["client", "connection", "worker", "accept"];
const MARKS: [(&str, &str); 4] =
    [("steal", "steal"), ("retake", "retake"), ("netpoll", "netpoll"), ("timers", "timers")];

const STYLE: &str = "
text { font: 12px system-ui, sans-serif; fill: #24292f }
.faint { fill: #59636e; font-size: 11px }
.middle { text-anchor: middle }
.end { text-anchor: end }
.band { fill: #8c959f; fill-opacity: .12 }
.grid { stroke: #8c959f; stroke-opacity: .3 }
.client { fill: #54aeff } .connection { fill: #4ac26b } .worker { fill: #e16f24 } .accept { fill: #a475f9 }
.steal { stroke: #8250df } .retake { stroke: #d1242f; stroke-width: 2.4 } .netpoll { stroke: #0969da } .timers { stroke: #bf8700 }
.wake { stroke: #8c959f; stroke-opacity: .5; stroke-width: .7 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.faint { fill: #9198a1 }
}
";

/// Draws the trace `json`.
pub(crate) fn draw(json: &str) -> Result<String> {
    let whole: Value = serde_json::from_str(json)?;
    let events = whole["traceEvents"].as_array().ok_or("no events")?;
    let retake = events.iter().find(|e| e["name"] == "retake").ok_or("no retake: try again")?;
    let from = number(&retake["ts"]) - BEFORE;
    let tracks = tracks(events, from);
    let height = TOP + PITCH * tracks.len() as f64 + 24.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 820 {height}\" width=\"820\" \
         height=\"{height}\" role=\"img\">\n<title>A trace: what runs on each P, and beside \
         them</title>\n<style>{STYLE}</style>\n"
    );
    legend(&mut svg)?;
    for (tid, row) in &tracks {
        let y = y_of(*row);
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" class=\"end\">{}</text>",
            LEFT - 8.0,
            y + 17.0,
            title(*tid)
        )?;
        writeln!(
            svg,
            "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{BAND}\" class=\"band\"/>"
        )?;
    }
    grid(&mut svg, height)?;
    arrows(&mut svg, events, &tracks, from)?;
    for event in events {
        let Some(row) = event["tid"].as_u64().and_then(|tid| tracks.get(&tid)) else { continue };
        let x = x_of(number(&event["ts"]) - from);
        let name = event["name"].as_str().unwrap_or_default();
        if event["ph"] == "X" && NAMES.contains(&name) {
            let end = x_of(number(&event["ts"]) + number(&event["dur"]) - from);
            let (x, end) = (x.max(LEFT), end.min(LEFT + WIDTH));
            if x < end {
                let (y, width) = (y_of(*row), (end - x).max(0.6));
                writeln!(
                    svg,
                    "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAND}\" class=\"{name}\"/>"
                )?;
            }
        } else if event["ph"] == "i" && is_inside(x) && MARKS.iter().any(|mark| mark.0 == name) {
            let y = y_of(*row) + BAND + 2.0;
            writeln!(svg, "<path class=\"{name}\" d=\"M{x:.1} {y}v9\"/>")?;
        }
    }
    svg += "</svg>\n";
    Ok(svg)
}

/// The tracks on which something runs in this time, and their rows.
fn tracks(events: &[Value], from: f64) -> BTreeMap<u64, usize> {
    let inside = |e: &&Value| {
        let begin = number(&e["ts"]) - from;
        e["ph"] == "X"
            && begin < LENGTH
            && begin + number(&e["dur"]) > 0.0
            && e["name"] != "block_on"
    };
    let mut tracks: BTreeMap<u64, usize> =
        events.iter().filter(inside).filter_map(|e| Some((e["tid"].as_u64()?, 0))).collect();
    tracks.values_mut().zip(0..).for_each(|(row, i)| *row = i);
    tracks
}

/// From a wake to what follows.
fn arrows(
    svg: &mut String,
    events: &[Value],
    tracks: &BTreeMap<u64, usize>,
    from: f64,
) -> Result<()> {
    let place = |e: &Value| {
        let row = tracks.get(&e["tid"].as_u64()?)?;
        Some((x_of(number(&e["ts"]) - from), y_of(*row) + BAND / 2.0))
    };
    let begins: BTreeMap<_, _> =
        events.iter().filter(|e| e["ph"] == "s").map(|e| (e["id"].as_u64(), place(e))).collect();
    for end in events.iter().filter(|e| e["ph"] == "f") {
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

fn legend(svg: &mut String) -> Result<()> {
    let mut x = LEFT;
    for name in NAMES {
        writeln!(svg, "<rect x=\"{x}\" y=\"8\" width=\"12\" height=\"12\" class=\"{name}\"/>")?;
        writeln!(svg, "<text x=\"{}\" y=\"18\">{name}</text>", x + 17.0)?;
        x += 34.0 + 7.0 * name.len() as f64;
    }
    for (class, name) in MARKS {
        writeln!(svg, "<path class=\"{class}\" d=\"M{} 9v10\"/>", x + 6.0)?;
        writeln!(svg, "<text x=\"{}\" y=\"18\">{name}</text>", x + 12.0)?;
        x += 30.0 + 7.0 * name.len() as f64;
    }
    Ok(())
}

fn grid(svg: &mut String, height: f64) -> Result<()> {
    let bottom = height - 20.0;
    for i in 0..=(LENGTH / GRID) as u32 {
        let x = x_of(GRID * f64::from(i));
        let ms = GRID / 1000.0 * f64::from(i);
        writeln!(svg, "<path class=\"grid\" d=\"M{x:.1} {}V{bottom}\"/>", TOP - 8.0)?;
        writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{}\" class=\"faint middle\">{ms} ms</text>",
            height - 6.0
        )?;
    }
    Ok(())
}

fn title(tid: u64) -> String {
    if tid < 10_000 { format!("P {tid}") } else { format!("M {}, no P", tid - 10_000) }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}

fn x_of(micros: f64) -> f64 {
    LEFT + WIDTH * micros / LENGTH
}

fn y_of(row: usize) -> f64 {
    TOP + PITCH * row as f64
}

fn is_inside(x: f64) -> bool {
    (LEFT..LEFT + WIDTH).contains(&x)
}
