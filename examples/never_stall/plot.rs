//! The picture: a panel for each runtime, time to the right, latency upwards on a logarithmic axis.
//!
//! A line shows the worst request of every hundredth of a phase, by when it was due. The colours suit
//! light and dark pages: the drawing has no background, and a media query changes the inks.

use std::fmt::Write as _;
use std::time::Duration;

use super::load::{self, Sample};
use super::options::Options;
use super::phase::Phase;
use super::servers::Runtime;
use super::stats::{Stats, short};

/// What a runtime did in all phases.
pub struct Panel {
    pub runtime: Runtime,
    pub phases: Vec<(Phase, Vec<Sample>)>,
}

const LEFT: f64 = 62.0;
const TOP: f64 = 36.0;
const PHASE_WIDTH: f64 = 156.0;
const PHASE_GAP: f64 = 4.0;
const HEIGHT: f64 = 104.0;
/// Two lines of text above each panel.
const HEAD: f64 = 34.0;
/// From one panel to the next.
const PITCH: f64 = HEAD + HEIGHT + 18.0;
const RIGHT: f64 = 10.0;
const BOTTOM: f64 = 20.0;

/// The ends of the latency axis, in milliseconds, as powers of ten.
const LEAST: f64 = -1.0;
const MOST: f64 = 3.0;
const GRID: [(f64, &str); 4] = [(0.1, "0.1 ms"), (1.0, "1 ms"), (10.0, "10 ms"), (100.0, "100 ms")];

/// Points of a line in a phase.
const BINS: usize = 100;

const STYLE: &str = "
text { font: 12px system-ui, sans-serif; fill: #24292f }
.head { font-weight: 600; font-size: 13px }
.faint { fill: #59636e; font-size: 11px }
.middle { text-anchor: middle }
.end { text-anchor: end }
.band { fill: #8c959f; fill-opacity: .10 }
.hogs { fill: #d1242f; fill-opacity: .08 }
.grid { stroke: #8c959f; stroke-opacity: .35; stroke-width: 1 }
.mark { fill: #d1242f }
.line { fill: none; stroke-width: 1.6; stroke-linejoin: round }
.gort { stroke: #1a7f37 }
.peer { stroke: #bc4c00 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.faint { fill: #9198a1 }
.hogs { fill: #f85149; fill-opacity: .13 }
.mark { fill: #f85149 }
.gort { stroke: #3fb950 }
.peer { stroke: #f0883e }
}
";

/// Draws all panels, one below the other.
pub fn draw(panels: &[Panel], options: &Options) -> String {
    let width = LEFT + PHASE_WIDTH * Phase::ALL.len() as f64 + RIGHT;
    let height = TOP + PITCH * panels.len() as f64 + BOTTOM;
    let mut svg = Svg::default();
    svg.push(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\">\n<title>Latency of light requests while handlers hold up \
         their threads</title>\n<style>{STYLE}</style>"
    ));
    for (i, phase) in Phase::ALL.into_iter().enumerate() {
        svg.text(center_of(i), TOP - 16.0, "head middle", phase.title());
    }
    for (i, panel) in panels.iter().enumerate() {
        panel.draw(&mut svg, TOP + PITCH * i as f64, options.phase);
    }
    let caption = format!(
        "The worst latency of every {} ms, of {} light requests a second on {} procs. At each triangle two hogs arrive.",
        (options.phase / BINS as u32).as_millis(),
        load::LIGHT_PER_SECOND,
        options.procs
    );
    svg.text(LEFT, height - 8.0, "faint", &caption);
    svg.push("</svg>");
    svg.text
}

impl Panel {
    fn draw(&self, svg: &mut Svg, top: f64, length: Duration) {
        let (above, bottom) = (top + HEAD - 6.0, top + HEAD + HEIGHT);
        svg.text(LEFT, above - 16.0, "head", self.runtime.title());
        for (i, (phase, samples)) in self.phases.iter().enumerate() {
            let class = if *phase == Phase::Quiet { "band" } else { "hogs" };
            svg.rect(left_of(i), bottom - HEIGHT, PHASE_WIDTH - PHASE_GAP, HEIGHT, class);
            let p99 = format!("p99 {}", short(Stats::of(samples).p99));
            svg.text(right_of(i), above, "faint end", &p99);
            if *phase != Phase::Quiet {
                let marks = load::hog_times(length).map(|due| x_of(i, due, length));
                marks.for_each(|x| svg.triangle(x, bottom));
            }
        }
        for (ms, label) in GRID {
            let y = y_of(ms, bottom);
            svg.push(format!(
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{}\"/>",
                right_of(self.phases.len() - 1)
            ));
            svg.text(LEFT - 8.0, y + 4.0, "faint end", label);
        }
        let class = if self.runtime == Runtime::Tokio { "peer" } else { "gort" };
        for (i, (_, samples)) in self.phases.iter().enumerate() {
            let points = worst(samples, length).into_iter().map(|(due, latency)| {
                (x_of(i, due, length), y_of(latency.as_secs_f64() * 1e3, bottom))
            });
            svg.line(points, class);
        }
    }
}

/// The worst latency of each bin, and the middle of that bin; bins without requests are left out.
fn worst(samples: &[Sample], length: Duration) -> Vec<(Duration, Duration)> {
    let bin = length / BINS as u32;
    let mut worst = [None; BINS];
    for sample in samples {
        let i = (sample.due.as_nanos() / bin.as_nanos()) as usize;
        let place = &mut worst[i.min(BINS - 1)];
        *place = (*place).max(Some(sample.latency));
    }
    let bins = worst.into_iter().zip(0_u32..);
    bins.filter_map(|(latency, i)| Some((bin * i + bin / 2, latency?))).collect()
}

fn left_of(phase: usize) -> f64 {
    LEFT + PHASE_WIDTH * phase as f64
}

fn right_of(phase: usize) -> f64 {
    left_of(phase + 1) - PHASE_GAP
}

fn center_of(phase: usize) -> f64 {
    (left_of(phase) + right_of(phase)) / 2.0
}

fn x_of(phase: usize, due: Duration, length: Duration) -> f64 {
    left_of(phase) + (PHASE_WIDTH - PHASE_GAP) * due.div_duration_f64(length)
}

fn y_of(ms: f64, bottom: f64) -> f64 {
    let share = (ms.max(f64::MIN_POSITIVE).log10() - LEAST) / (MOST - LEAST);
    bottom - HEIGHT * share.clamp(0.0, 1.0)
}

/// The text of a drawing.
#[derive(Default)]
struct Svg {
    text: String,
}

impl Svg {
    fn push(&mut self, element: impl AsRef<str>) {
        self.text += element.as_ref();
        self.text.push('\n');
    }

    fn text(&mut self, x: f64, y: f64, class: &str, words: &str) {
        self.push(format!("<text x=\"{x:.0}\" y=\"{y:.0}\" class=\"{class}\">{words}</text>"));
    }

    fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, class: &str) {
        self.push(format!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" class=\"{class}\"/>"
        ));
    }

    /// A small triangle that stands on `y`.
    fn triangle(&mut self, x: f64, y: f64) {
        self.push(format!("<path class=\"mark\" d=\"M{x:.1} {:.1}l-4 7h8z\"/>", y + 1.0));
    }

    fn line(&mut self, points: impl Iterator<Item = (f64, f64)>, class: &str) {
        let mut path = String::new();
        for (i, (x, y)) in points.enumerate() {
            let command = if i == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{command}{x:.1} {y:.1}"); // a String takes all
        }
        self.push(format!("<path class=\"line {class}\" d=\"{path}\"/>"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_each_bin() {
        let ms = Duration::from_millis;
        let sample = |due, latency| Sample { due: ms(due), latency: ms(latency) };
        let samples = [sample(0, 1), sample(9, 3), sample(5, 2), sample(990, 4)];
        let bins = worst(&samples, ms(1000));
        assert_eq!(bins, [(ms(5), ms(3)), (ms(995), ms(4))]);
    }

    #[test]
    fn the_axis_is_logarithmic() {
        let y = [0.01, 0.1, 1.0, 10.0, 1000.0, 9999.0].map(|ms| y_of(ms, HEIGHT));
        assert_eq!(y, [HEIGHT, HEIGHT, HEIGHT * 0.75, HEIGHT * 0.5, 0.0, 0.0]);
    }
}
