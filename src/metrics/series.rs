//! How a series is declared: its kind, its labels and the values that these have.

use std::collections::HashMap;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    Counter, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts,
};

/// What is said of a series: a row of [`super::table`].
#[derive(Clone, Copy, Debug)]
pub struct Series {
    /// With the prefix.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels, in order.
    pub labels: &'static [Label],
    /// A sentence.
    pub help: &'static str,
}

/// A label of a series.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What it may say.
    pub values: Values,
}

/// The values of a label.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// Bounded by what we write there, which the documentation lists.
    Any,
    /// These and no others.
    Only(&'static [&'static str]),
    /// These from the start, so that the first event is an increase, and others once they happen.
    First(&'static [&'static str]),
}

impl Values {
    const fn at_first(self) -> &'static [&'static str] {
        match self {
            Self::Any => &[],
            Self::Only(values) | Self::First(values) => values,
        }
    }
}

impl Series {
    /// A row in Markdown.
    pub(super) fn row(&self) -> String {
        let label = |label: &Label| match label.values {
            Values::Only(values) => format!("`{}` (`{}`)", label.name, values.join("`, `")),
            Values::Any | Values::First(_) => format!("`{}`", label.name),
        };
        let labels: Vec<String> = self.labels.iter().map(label).collect();
        let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
        format!("| `{}` | {} | {labels} | {} |\n", self.name, self.kind, self.help)
    }

    pub(super) fn has(&self, label: &str) -> bool {
        self.labels.iter().any(|known| known.name == label)
    }

    /// Every combination of values that is there from the start. `known` are values of this moment, which win.
    pub(super) fn first_values<'a>(&self, known: &[(&str, &'a str)]) -> Vec<Vec<&'a str>> {
        let mut all: Vec<Vec<&'a str>> = vec![Vec::new()];
        for label in self.labels {
            let known: Vec<&str> =
                known.iter().filter(|(name, _)| *name == label.name).map(|(_, value)| *value).collect();
            let values = if known.is_empty() { label.values.at_first() } else { &known };
            all = all.iter().flat_map(|row| values.iter().map(|value| [row.as_slice(), &[*value]].concat())).collect();
        }
        all
    }
}

/// What kinds of series have in common.
pub(super) trait Declared: Collector + Clone + Sized + 'static {
    const KIND: &'static str;

    fn declare(series: &Series, buckets: &[f64]) -> prometheus::Result<Self>;

    /// Makes the series of these values, at zero. Only counters are: a gauge that nobody set tells nothing.
    fn begin(&self, _values: &[&str]) {}

    /// Removes every series whose `label` is `value`.
    fn forget(&self, _label: &str, _value: &str) {}
}

macro_rules! declared {
    ($($kind:ty, $word:literal, |$series:ident, $buckets:ident| $make:expr $(, { $($more:item)* })?;)*) => {$(
        impl Declared for $kind {
            const KIND: &'static str = $word;

            fn declare($series: &Series, $buckets: &[f64]) -> prometheus::Result<Self> {
                let _ = $buckets;
                $make
            }

            $($($more)*)?
        }
    )*};
}

declared! {
    Counter, "counter", |series, buckets| Self::new(series.name, series.help);
    IntCounter, "counter", |series, buckets| Self::new(series.name, series.help);
    IntCounterVec, "counter", |series, buckets| Self::new(opts(series), &names(series)), {
        fn begin(&self, values: &[&str]) {
            self.with_label_values(values);
        }

        fn forget(&self, label: &str, value: &str) {
            forget(self, label, value);
        }
    };
    Gauge, "gauge", |series, buckets| Self::new(series.name, series.help);
    GaugeVec, "gauge", |series, buckets| Self::new(opts(series), &names(series)), {
        fn forget(&self, label: &str, value: &str) {
            forget(self, label, value);
        }
    };
    IntGauge, "gauge", |series, buckets| Self::new(series.name, series.help);
    IntGaugeVec, "gauge", |series, buckets| Self::new(opts(series), &names(series)), {
        fn forget(&self, label: &str, value: &str) {
            forget(self, label, value);
        }
    };
    Histogram, "histogram", |series, buckets| {
        Self::with_opts(HistogramOpts::new(series.name, series.help).buckets(buckets.to_vec()))
    };
    HistogramVec, "histogram", |series, buckets| {
        Self::new(HistogramOpts::new(series.name, series.help).buckets(buckets.to_vec()), &names(series))
    }, {
        fn forget(&self, label: &str, value: &str) {
            forget(self, label, value);
        }
    };
}

fn opts(series: &Series) -> Opts {
    Opts::new(series.name, series.help)
}

fn names(series: &Series) -> Vec<&'static str> {
    series.labels.iter().map(|label| label.name).collect()
}

fn forget<T: MetricVecBuilder>(series: &MetricVec<T>, label: &str, value: &str) {
    for family in series.collect() {
        for metric in family.get_metric() {
            let labels: HashMap<&str, &str> =
                metric.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
            if labels.get(label) == Some(&value) {
                // It fails only where somebody else was faster.
                series.remove(&labels).ok();
            }
        }
    }
}
