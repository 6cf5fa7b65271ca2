//! What was measured, against what was promised: a table for people, JSON for machines.

use std::{fs, io, path::Path, time::Duration};

use serde_json::{Value, json};

/// Values of one quantity, in the order they were taken.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds a duration, in milliseconds.
    pub fn add(&mut self, taken: Duration) {
        self.0.push(taken.as_secs_f64() * 1e3);
    }

    /// Adds a plain number.
    pub fn add_number(&mut self, number: f64) {
        self.0.push(number);
    }

    /// The value that a share of all values does not exceed; 0.5 is the median.
    ///
    /// # Panics
    /// Nothing was measured.
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (sorted.len() - 1) as f64 * share;
        let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
        low + (high - low) * place.fract()
    }

    /// The median.
    ///
    /// # Panics
    /// Nothing was measured.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}

/// What a promise says of its figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
    /// Nothing is promised; told for comparison.
    None,
}

/// One line of the report.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What PERFORMANCE.md calls it.
    pub id: String,
    /// The measured value, a median where there are several.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// The promise.
    pub target: Target,
    /// Smallest value, largest value, number of values.
    pub spread: Option<(f64, f64, usize)>,
}

impl Figure {
    /// The median of samples.
    pub fn median(id: impl Into<String>, samples: &Samples, unit: &'static str, target: Target) -> Self {
        let spread = Some((samples.quantile(0.0), samples.quantile(1.0), samples.0.len()));
        Self { id: id.into(), value: samples.median(), unit, target, spread }
    }

    /// A single value.
    pub fn single(id: impl Into<String>, value: f64, unit: &'static str, target: Target) -> Self {
        Self { id: id.into(), value, unit, target, spread: None }
    }

    /// Whether the promise holds; `None` where nothing is promised.
    pub fn holds(&self) -> Option<bool> {
        match self.target {
            Target::AtMost(most) => Some(self.value <= most),
            Target::AtLeast(least) => Some(self.value >= least),
            Target::None => None,
        }
    }

    fn verdict(&self) -> &'static str {
        self.holds().map_or("", |holds| if holds { "PASS" } else { "MISS" })
    }

    fn target_text(&self) -> String {
        match self.target {
            Target::AtMost(most) => format!("<= {}", number(most)),
            Target::AtLeast(least) => format!(">= {}", number(least)),
            Target::None => String::new(),
        }
    }

    fn json(&self) -> Value {
        let (kind, target) = match self.target {
            Target::AtMost(most) => ("at_most", Some(most)),
            Target::AtLeast(least) => ("at_least", Some(least)),
            Target::None => ("none", None),
        };
        json!({
            "id": self.id, "value": self.value, "unit": self.unit, "target": target, "target_kind": kind,
            "min": self.spread.map(|s| s.0), "max": self.spread.map(|s| s.1), "samples": self.spread.map(|s| s.2),
            "holds": self.holds(),
        })
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// All figures, printed as they come.
#[derive(Debug, Default)]
pub struct Report {
    figures: Vec<Figure>,
    failed: Vec<String>,
}

impl Report {
    /// Begins a group of figures.
    pub fn heading(&self, text: &str) {
        println!("\n{text}");
    }

    /// Adds a figure and prints its line.
    pub fn add(&mut self, figure: Figure) {
        let spread = figure
            .spread
            .map_or(String::new(), |(min, max, count)| format!("{} .. {}, n={count}", number(min), number(max)));
        println!(
            "  {:<46} {:>9} {:<7} {:>9}  {:<4}  {spread}",
            figure.id,
            number(figure.value),
            figure.unit,
            figure.target_text(),
            figure.verdict()
        );
        self.figures.push(figure);
    }

    /// A part could not be measured to its end.
    pub fn fail(&mut self, part: &str, error: &anyhow::Error) {
        println!("  {part} failed: {error:#}");
        self.failed.push(part.to_owned());
    }

    /// Promises that do not hold, and parts that failed.
    pub fn missed(&self) -> Vec<&str> {
        let missed = self.figures.iter().filter(|figure| figure.holds() == Some(false)).map(|figure| &figure.id);
        missed.chain(&self.failed).map(String::as_str).collect()
    }

    /// Writes all figures as one JSON document.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_json(&self, path: &Path, quick: bool, machine: &Value) -> io::Result<()> {
        let figures: Vec<Value> = self.figures.iter().map(Figure::json).collect();
        let document =
            json!({ "version": 1, "quick": quick, "machine": machine, "figures": figures, "failed": self.failed });
        fs::write(path, format!("{document:#}\n"))
    }
}

/// The kind of machine: cores, kernel, memory.
pub fn machine() -> Value {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version: String = kernel.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let taken_at =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    json!({ "cores": cores, "kernel": version, "memory_mib": kib.map(|kib| kib >> 10), "unix_time": taken_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_lie_between_their_neighbours_and_targets_are_inclusive() {
        let mut samples = Samples::default();
        for value in [3.0, 1.0, 2.0, 10.0] {
            samples.add_number(value);
        }
        assert_eq!((samples.median(), samples.quantile(0.0), samples.quantile(1.0)), (2.5, 1.0, 10.0));
        let figure = |target| Figure::median("x", &samples, "ms", target).holds();
        assert_eq!(
            [figure(Target::AtMost(2.5)), figure(Target::AtLeast(2.6)), figure(Target::None)],
            [Some(true), Some(false), None]
        );
    }
}
