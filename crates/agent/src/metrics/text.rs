//! The text format that Prometheus reads (version 0.0.4), and the three kinds
//! of metric that we have.

use std::collections::BTreeMap;
use std::fmt::Write;

use parking_lot::Mutex;

/// Label values of one series, in the order of the family's label names.
pub(super) type Labels = Vec<&'static str>;

/// What a series holds.
pub(crate) trait Value: Default {
    const KIND: &'static str;

    fn write(&self, name: &str, labels: &str, out: &mut String);
}

/// Series with a name in common.
#[derive(Debug)]
pub(crate) struct Family<T> {
    name: &'static str,
    help: &'static str,
    label_names: &'static [&'static str],
    series: Mutex<BTreeMap<Labels, T>>,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(u64);

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(crate) struct Gauge(f64);

/// How often values were how large.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// By upper bound, not summed up; what is above the last is only in `count`.
    buckets: Vec<(f64, u64)>,
    count: u64,
    sum: f64,
}

impl<T: Value> Family<T> {
    pub(super) const fn new(
        name: &'static str,
        label_names: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            help,
            label_names,
            series: Mutex::new(BTreeMap::new()),
        }
    }

    fn change(&self, labels: &[&'static str], change: impl FnOnce(&mut T)) {
        debug_assert_eq!(labels.len(), self.label_names.len(), "{}", self.name);
        change(self.series.lock().entry(labels.to_vec()).or_default());
    }

    pub(super) fn write(&self, out: &mut String) {
        let series = self.series.lock();
        let (name, help, kind) = (self.name, self.help, T::KIND);
        // Writing to a String cannot fail.
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (values, value) in &*series {
            let pairs = self.label_names.iter().zip(values);
            let labels: Vec<String> = pairs.map(|(k, v)| format!("{k}=\"{v}\"")).collect();
            value.write(name, &labels.join(","), out);
        }
    }
}

impl Family<Counter> {
    pub(crate) fn add(&self, labels: &[&'static str], more: u64) {
        self.change(labels, |counter| counter.0 += more);
    }

    /// What is counted elsewhere.
    pub(crate) fn reach(&self, labels: &[&'static str], total: u64) {
        self.change(labels, |counter| counter.0 = counter.0.max(total));
    }
}

impl Family<Gauge> {
    pub(crate) fn set(&self, labels: &[&'static str], value: f64) {
        self.change(labels, |gauge| gauge.0 = value);
    }
}

impl Family<Histogram> {
    pub(crate) fn observe(&self, labels: &[&'static str], value: f64, bounds: &[f64]) {
        self.change(labels, |histogram| histogram.observe(value, bounds));
    }
}

impl Histogram {
    fn observe(&mut self, value: f64, bounds: &[f64]) {
        if self.buckets.is_empty() {
            self.buckets = bounds.iter().map(|bound| (*bound, 0)).collect();
        }
        if let Some((_, count)) = self.buckets.iter_mut().find(|(bound, _)| value <= *bound) {
            *count += 1;
        }
        self.count += 1;
        self.sum += value;
    }
}

/// A sample's line; labels are in braces where there are some.
fn sample(name: &str, labels: &str, value: f64, out: &mut String) {
    let _ = if labels.is_empty() {
        writeln!(out, "{name} {value}")
    } else {
        writeln!(out, "{name}{{{labels}}} {value}")
    };
}

fn as_float(count: u64) -> f64 {
    // Exact to 2^53.
    count as f64
}

impl Value for Counter {
    const KIND: &'static str = "counter";

    fn write(&self, name: &str, labels: &str, out: &mut String) {
        sample(name, labels, as_float(self.0), out);
    }
}

impl Value for Gauge {
    const KIND: &'static str = "gauge";

    fn write(&self, name: &str, labels: &str, out: &mut String) {
        sample(name, labels, self.0, out);
    }
}

impl Value for Histogram {
    const KIND: &'static str = "histogram";

    fn write(&self, name: &str, labels: &str, out: &mut String) {
        let comma = if labels.is_empty() { "" } else { "," };
        let bucket = format!("{name}_bucket");
        let mut total = 0;
        for (bound, count) in &self.buckets {
            total += count;
            let labels = format!("{labels}{comma}le=\"{bound}\"");
            sample(&bucket, &labels, as_float(total), out);
        }
        let labels_all = format!("{labels}{comma}le=\"+Inf\"");
        sample(&bucket, &labels_all, as_float(self.count), out);
        sample(&format!("{name}_sum"), labels, self.sum, out);
        sample(&format!("{name}_count"), labels, as_float(self.count), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_as_prometheus_reads_them() {
        let mut out = String::new();
        let counter: Family<Counter> = Family::new("a_total", &["code"], "Answers.");
        counter.add(&["200"], 2);
        counter.add(&["200"], 1);
        counter.add(&["503"], 1);
        counter.write(&mut out);
        let gauge: Family<Gauge> = Family::new("b", &[], "A size.");
        gauge.set(&[], 1.5);
        gauge.write(&mut out);
        let histogram: Family<Histogram> = Family::new("c_seconds", &["f"], "Times.");
        for value in [0.5, 1.0, 1.5, 9.0] {
            histogram.observe(&["x"], value, &[1.0, 2.0]);
        }
        histogram.write(&mut out);
        assert_eq!(
            out,
            "\
# HELP a_total Answers.
# TYPE a_total counter
a_total{code=\"200\"} 3
a_total{code=\"503\"} 1
# HELP b A size.
# TYPE b gauge
b 1.5
# HELP c_seconds Times.
# TYPE c_seconds histogram
c_seconds_bucket{f=\"x\",le=\"1\"} 2
c_seconds_bucket{f=\"x\",le=\"2\"} 3
c_seconds_bucket{f=\"x\",le=\"+Inf\"} 4
c_seconds_sum{f=\"x\"} 12
c_seconds_count{f=\"x\"} 4
"
        );
    }
}
